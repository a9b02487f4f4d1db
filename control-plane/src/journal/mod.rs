//! The journal's storage. Lives here: the narrow store trait and its implementations. Never here: decisions about what
//! may be recorded, which are the ledger's.

mod sqlite;
mod store;

pub use sqlite::SqliteStore;
pub use store::{FORMAT_VERSION, Store, StoreError, Tail};
