//! Why a protocol cannot be registered.

use thiserror::Error;

use crate::schema::SchemaError;

/// A protocol that cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The same name and version with other schemas.
    #[error("protocol `{id}` is registered with other schemas ({differences}); give the changed one a new version")]
    Mismatch {
        /// Such as `math/v1`.
        id: String,
        /// Where they differ.
        differences: String,
    },
    /// A schema does not compile.
    #[error("`{field}` of method `{method}` is no valid schema")]
    Schema {
        /// Full name.
        method: String,
        /// `parameters` or `returns`.
        field: &'static str,
        /// Why.
        #[source]
        cause: SchemaError,
    },
}
