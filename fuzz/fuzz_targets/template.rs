//! Filling in a template: the result stays within its budget, and program text within a few times that.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use gleitzeit_workflow::template::{Budget, FileContent, Language, Piece, Root, Scope, check_code, is_template, parse, resolve, resolve_code, written_step};

const BUDGET: usize = 10_000;

struct Any {
    value: Value,
    file: FileContent,
}

impl Scope for Any {
    fn root(&self, root: &Root) -> Option<Cow<'_, Value>> {
        match root {
            Root::Task(_) | Root::Input(_) => Some(Cow::Borrowed(&self.value)),
            Root::Env(name) => Some(Cow::Owned(json!(name))),
            Root::RunId => Some(Cow::Owned(json!("id"))),
            Root::File(_) => None,
        }
    }

    fn file(&self, _: &str) -> Option<&FileContent> {
        Some(&self.file)
    }
}

fuzz_target!(|input: (String, String)| {
    let (text, data) = input;
    let large = data.repeat(BUDGET / 3 / data.len().max(1));
    let value = json!({
        "a": data, "x y": [data, 1, null, {data.clone(): true}], "large": large, data.clone(): {"0": [[data]]},
    });
    let scope = Any { value, file: FileContent::Text(data.clone()) };
    match parse(&text) {
        Ok(pieces) => {
            for piece in &pieces {
                let Piece::Reference(reference) = piece else { continue };
                // A reference that is printed parses as the same reference.
                let again = parse(&reference.to_string()).expect("it was read before");
                assert!(matches!(&again[..], [Piece::Reference(same)] if same.path == reference.path));
            }
            let is_reference = |piece: &Piece| matches!(piece, Piece::Reference(_));
            assert_eq!(is_template(&text), pieces.iter().any(is_reference));
        }
        Err(error) => {
            assert!(text[error.offset..].starts_with("${"), "{error}");
            assert!(is_template(&text));
        }
    }
    let step = format!("${{a{}}}", written_step(&data));
    assert!(matches!(&parse(&step).expect("a key in quotes")[..], [Piece::Reference(_)]), "{step}");
    let template = json!({"text": text, "list": [text, {"k": text}]});
    if let Ok(filled) = resolve(&template, &scope, &mut Budget::new(BUDGET)) {
        assert!(filled.to_string().len() <= 7 * BUDGET);
    }
    for language in [Language::Python, Language::Shell, Language::Url] {
        let checked = check_code(&text, language);
        if let Ok(code) = resolve_code(&text, language, "code", &scope, &mut Budget::new(BUDGET), &|_| false) {
            assert!(code.text.len() <= 40 * (BUDGET + text.len()), "{} bytes", code.text.len());
            assert!(checked.is_ok(), "refused before the value was known: {checked:?}");
        }
    }
});
