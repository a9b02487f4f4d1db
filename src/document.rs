//! The documents that commands print, a stable interface for programs: fields are only ever added. What people read of
//! them is in `view`.

mod explain;
mod protocols;
mod run;
mod stores;
mod system;
mod trace;
mod waiting;

use serde::Serialize;

pub(crate) use explain::ExplainDocument;
pub(crate) use protocols::{MethodItem, ProtocolItem};
pub(crate) use run::{CancelDocument, EventDocument, RunDocument, RunItem, Submitted};
pub(crate) use stores::{Copy, Pruned, StoreCheck, StoreWrong};
pub(crate) use system::{ComponentItem, ProviderItem, StatusDocument};
pub(crate) use trace::TraceDocument;

/// One page of a list.
#[derive(Serialize)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_page_token: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests;
