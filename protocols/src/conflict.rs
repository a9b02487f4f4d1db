//! Why a protocol cannot be registered.

use thiserror::Error;

use crate::schema::SchemaError;

/// Why a protocol cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The name and version are known with other schemas.
    #[error("protocol `{id}` is registered with other schemas ({differences}); give the changed one a new version")]
    Mismatch {
        /// The name and version, such as `math/v1`.
        id: String,
        /// Where they differ.
        differences: String,
    },
    /// A schema does not compile.
    #[error("`{field}` of method `{method}` is not a valid schema")]
    Schema {
        /// The full name of the method.
        method: String,
        /// `parameters` or `returns`.
        field: &'static str,
        /// What is wrong with the schema.
        #[source]
        cause: SchemaError,
    },
}
