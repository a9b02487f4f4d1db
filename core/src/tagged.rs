//! Enums that travel as a name and a JSON body.
//!
//! The body is decoded only after the name is known, straight from its text, whatever the order of the fields: raw JSON
//! ([`crate::Payload`]) inside a body passes through untouched, which serde's own tagged enums cannot do.

use thiserror::Error;

/// Why a name and a body could not be read.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No variant has this name.
    #[error("unknown {what} `{kind}`")]
    Unknown {
        /// What was being read, such as `event`.
        what: &'static str,
        /// The name that was found.
        kind: String,
    },
    /// The body does not fit the variant of this name.
    #[error("malformed {what} `{kind}`: {source}")]
    Malformed {
        /// What was being read, such as `event`.
        what: &'static str,
        /// The name of the variant.
        kind: String,
        /// What is wrong with the body.
        source: serde_json::Error,
    },
}

/// Defines an enum whose variants each hold one struct and have one wire name.
///
/// It gets `kind()`, `body()` (JSON text), `decode(kind, body)`, and `Serialize`/`Deserialize` as
/// `{"type": name, "data": body}`.
macro_rules! tagged {
    ($(#[$doc:meta])* $what:literal $name:ident { $($(#[$vdoc:meta])* $variant:ident($body:ty) = $kind:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[$vdoc])* $variant($body),)*
        }

        impl $name {
            /// Every wire name, in the order of the variants.
            pub const KINDS: &'static [&'static str] = &[$($kind,)*];

            /// The wire name.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// The body as JSON text.
            pub fn body(&self) -> String {
                // Bodies are structs of strings, numbers and raw JSON: serializing them cannot fail.
                match self { $(Self::$variant(body) => serde_json::to_string(body).expect("a body is serializable"),)* }
            }

            /// Reads a body by its wire name.
            ///
            /// # Errors
            /// If no variant has the name, or the text does not fit it.
            pub fn decode(kind: &str, body: &str) -> Result<Self, $crate::tagged::DecodeError> {
                match kind {
                    $($kind => serde_json::from_str::<$body>(body).map(Self::$variant).map_err(|source| {
                        $crate::tagged::DecodeError::Malformed { what: $what, kind: kind.to_owned(), source }
                    }),)*
                    _ => Err($crate::tagged::DecodeError::Unknown { what: $what, kind: kind.to_owned() }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut out = serializer.serialize_struct(stringify!($name), 2)?;
                out.serialize_field("type", self.kind())?;
                match self { $(Self::$variant(body) => out.serialize_field("data", body)?,)* }
                out.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                struct Wire {
                    r#type: String,
                    data: $crate::Payload,
                }
                let wire = Wire::deserialize(deserializer)?;
                Self::decode(&wire.r#type, wire.data.get()).map_err(serde::de::Error::custom)
            }
        }

        $(impl From<$body> for $name {
            fn from(body: $body) -> Self {
                Self::$variant(body)
            }
        })*
    };
}

pub(crate) use tagged;
