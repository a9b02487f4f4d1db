//! Enums that travel as a name and a JSON body.
//!
//! The body is decoded only after the name is known, straight from its text, whatever the order of the fields: raw JSON
//! ([`crate::Payload`]) inside a body passes through untouched, which serde's own tagged enums cannot do.

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A type that is sent and stored as a name and a body.
pub trait Tagged {
    /// Serializes the body, without the name around it.
    ///
    /// # Errors
    /// The serializer's own errors.
    fn serialize_body<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// Serializes only the body: [`Tagged`] types themselves serialize with their name around it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a, T>(pub &'a T);

impl<T: Tagged> Serialize for Body<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_body(serializer)
    }
}

/// Why a name and a body could not be decoded.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No variant has this name.
    #[error("unknown {what} `{kind}`")]
    Unknown {
        /// What was being decoded, such as `event`.
        what: &'static str,
        /// The name that was found.
        kind: String,
    },
    /// The body does not fit the variant of this name.
    #[error("malformed {what} `{kind}`: {problem}")]
    Malformed {
        /// What was being decoded, such as `event`.
        what: &'static str,
        /// The name of the variant.
        kind: String,
        /// What is wrong with the body, and in which field.
        problem: String,
    },
}

/// What is wrong with a JSON text, with the path of the field where reading stopped: ``in `tasks[2].ref`: missing …``.
pub fn problem_of(text: &str, error: &serde_json::Error) -> String {
    let full = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let Some(problem) = full.strip_suffix(&place) else { return full };
    // A body is nearly always one line; earlier lines count with their line breaks.
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let path = path_at(text.as_bytes().get(..before + error.column()).unwrap_or(text.as_bytes()));
    if path.is_empty() { problem.to_owned() } else { format!("in `{path}`: {problem}") }
}

/// The path of the value that contains the last byte of a truncated JSON text.
fn path_at(json: &[u8]) -> String {
    enum Step {
        Key(String),
        Index(usize),
    }
    let mut path = Vec::new();
    let mut at = 0;
    // Whether the next string is a key.
    let mut key_next = false;
    while let Some(byte) = json.get(at) {
        match byte {
            b'{' => {
                path.push(Step::Key(String::new()));
                key_next = true;
            }
            b'[' => path.push(Step::Index(0)),
            b'}' | b']' => {
                path.pop();
            }
            b',' => match path.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(key)) => {
                    key.clear();
                    key_next = true;
                }
                None => {}
            },
            b'"' => {
                let start = at + 1;
                at = start;
                while json.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                if let (true, Some(Step::Key(key)), Some(text)) = (key_next, path.last_mut(), json.get(start..at)) {
                    *key = String::from_utf8_lossy(text).into_owned();
                    key_next = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if key.is_empty() => {}
            Step::Key(key) if text.is_empty() => text = key,
            Step::Key(key) => text.extend([".", &key]),
            Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
        }
    }
    text
}

/// Defines an enum whose variants each hold one struct and have one wire name.
///
/// It gets `kind()`, `body()` (JSON text), `payload()` (the same, shared), `decode(kind, body)`, [`Tagged`], and `Serialize`/`Deserialize` as
/// `{"type": name, "data": body}`.
#[macro_export]
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
                serde_json::to_string(&$crate::tagged::Body(self)).expect("a body is serializable")
            }

            /// The body as a JSON value.
            pub fn payload(&self) -> $crate::Payload {
                // Serializing cannot fail, as in `body`.
                $crate::Payload::of(&$crate::tagged::Body(self)).expect("a body is serializable")
            }

            /// Reads a body by its wire name.
            ///
            /// # Errors
            /// If no variant has the name, or the text does not fit it.
            pub fn decode(kind: &str, body: &str) -> Result<Self, $crate::tagged::DecodeError> {
                match kind {
                    $($kind => $crate::json::decode::<$body>(body).map(Self::$variant).map_err(|source| {
                        let problem = $crate::tagged::problem_of(body, &source);
                        $crate::tagged::DecodeError::Malformed { what: $what, kind: kind.to_owned(), problem }
                    }),)*
                    _ => Err($crate::tagged::DecodeError::Unknown { what: $what, kind: kind.to_owned() }),
                }
            }
        }

        impl $crate::tagged::Tagged for $name {
            fn serialize_body<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(body) => serde::Serialize::serialize(body, serializer),)* }
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

#[cfg(test)]
mod tests {
    use super::path_at;

    #[test]
    fn the_path_names_where_reading_stopped() {
        for (text, path) in [
            (r#"{"a":1"#, "a"),
            (r#"{"a":1,"#, ""),
            (r#"{"a":1,"b":{"c":[0,{"d":"#, "b.c[1].d"),
            (r#"{"a":[{"b":1},{"b":2}"#, "a[1]"),
            (r#"{"a":"x,]}\"{","b":"#, "b"),
            (r#"[[1,2],[3"#, "[1][0]"),
            (r#"{"a":{}}"#, ""),
        ] {
            assert_eq!(path_at(text.as_bytes()), path, "{text}");
        }
    }
}
