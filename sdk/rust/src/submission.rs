//! A submission: a workflow with its inputs and files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use gleitzeit_workflow::Payload;
use gleitzeit_workflow::spec::{AnyMethod, Limits, check_bytes};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::regular;

/// A workflow to be run, with its inputs and files.
///
/// By default it has a random request id, so that a repeat after a lost answer does not create a second run.
#[derive(Clone, Debug)]
pub struct Submission {
    pub(crate) yaml: String,
    pub(crate) file_name: String,
    pub(crate) inputs: BTreeMap<String, Box<RawValue>>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) request_id: String,
}

impl Submission {
    /// A workflow as YAML or JSON text.
    pub fn yaml(text: impl Into<String>) -> Self {
        Self {
            yaml: text.into(),
            file_name: String::new(),
            inputs: BTreeMap::new(),
            files: BTreeMap::new(),
            labels: BTreeMap::new(),
            request_id: random_id(),
        }
    }

    /// Reads a workflow file and the files that it declares, whose paths are relative to its folder. This checks only
    /// what is needed for that; the control plane reports everything else.
    ///
    /// # Errors
    /// If a file cannot be read, or the workflow is invalid ([`Error::problems`]).
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let cannot = |path: &Path, error: std::io::Error| {
            Error::invalid(format!("`{}` cannot be read: {error}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(|error| cannot(path, error))?;
        let name = path.display().to_string();
        let limits = Limits { bytes: usize::MAX, tasks: usize::MAX, ..Limits::DEFAULT };
        let workflow = check_bytes(&bytes, &name, &AnyMethod, &limits).map_err(Error::of_problems)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::invalid(format!("`{name}` is not UTF-8 text")))?;
        let mut submission = Self::yaml(text).file_name(name);
        for (name, file) in &workflow.files {
            let file = path.parent().unwrap_or(Path::new("")).join(file);
            let mut content = Vec::new();
            let opened = regular::open(&file).and_then(|mut file| file.read_to_end(&mut content));
            opened.map_err(|error| cannot(&file, error))?;
            submission = submission.file(name.clone(), content);
        }
        Ok(submission)
    }

    /// The name for the workflow text in problems.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file_name = name.into();
        self
    }

    /// Sets a declared input.
    ///
    /// # Errors
    /// If the value cannot be serialized as JSON.
    pub fn input(mut self, name: impl Into<String>, value: impl Serialize) -> Result<Self> {
        let name = name.into();
        let value = serde_json::value::to_raw_value(&value)
            .map_err(|error| Error::invalid(format!("the input `{name}` cannot be written as JSON: {error}")))?;
        self.inputs.insert(name, value);
        Ok(self)
    }

    /// Sets the content of a declared file.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.into(), content.into());
        self
    }

    /// Adds a label; it overrides a label of the workflow with the same name.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sets the request id: the same id with the same submission is the same run, however often it is sent. At most 128
    /// bytes.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// The inputs as one JSON object, their literals unchanged.
    pub(crate) fn inputs_json(&self) -> String {
        serde_json::to_string(&self.inputs).expect("keys are strings and the values are JSON already")
    }
}

/// A random UUID.
pub(crate) fn random_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// Parses text as a payload.
///
/// # Errors
/// If the text is not JSON.
pub(crate) fn json(text: String) -> Result<Payload> {
    // Entries recorded before this check existed must stay readable.
    Payload::grammatical(text).map_err(|error| Error::answer(format!("the control plane sent invalid JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_keep_their_text_and_each_submission_has_its_own_id() {
        let number: Box<RawValue> = RawValue::from_string("100000000000000000000001".to_owned()).expect("JSON");
        let one = Submission::yaml("").input("n", number).expect("JSON").input("a", "x").expect("JSON");
        assert_eq!(one.inputs_json(), r#"{"a":"x","n":100000000000000000000001}"#);
        assert_ne!(one.request_id, Submission::yaml("").request_id);
        assert_eq!(one.request_id.len(), 36);
    }
}
