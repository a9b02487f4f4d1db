//! Checks the provider that a task names against the known providers.
//!
//! The invariant: no name is wrong if no providers are known, or if the caller cannot know all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Catalog, MethodInfo, Violation};
use super::checker::Checker;
use super::fields::given;
use super::known::{KnownProviders, Others, Serving};
use crate::error::ErrorCode;
use crate::id::ProviderName;
use crate::suggest::{closest, list};
use crate::yaml::{At, Fields, Node, shorten};

/// The largest length of a provider's name, as for a component id.
const MAX_NAME_BYTES: usize = 200;
/// The number of providers that a message names with their addresses.
const SHOWN: usize = 3;

/// A catalog that knows providers as well.
pub struct WithProviders<'a> {
    /// Answers for methods.
    pub catalog: &'a dyn Catalog,
    /// The known providers.
    pub providers: &'a KnownProviders,
}

impl Catalog for WithProviders<'_> {
    fn method(&self, name: &str) -> Option<MethodInfo> {
        self.catalog.method(name)
    }

    fn method_names(&self) -> Vec<String> {
        self.catalog.method_names()
    }

    fn check_template(&self, method: &str, parameters: &serde_json::Value) -> Vec<Violation> {
        self.catalog.check_template(method, parameters)
    }

    fn providers(&self) -> Option<&KnownProviders> {
        Some(self.providers)
    }
}

/// The provider that a task names, if the field itself is valid.
pub(super) fn named(checker: &mut Checker<'_>, fields: &Fields, at: At<'_>) -> Option<ProviderName> {
    let node = given(fields, "provider")?;
    let name = checker.text(node, at.key("provider"), "`provider`")?;
    if name.contains("${") {
        let hint = "write the name itself; where inputs decide, use a task for each provider".to_owned();
        checker.wrong(node.spot, at.key("provider"), "`provider` takes no references", Some(hint));
        return None;
    }
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
        let message = format!("`provider` must be one line of 1 to {MAX_NAME_BYTES} bytes");
        let hint = "write a name that `gleitzeit providers` shows".to_owned();
        checker.wrong(node.spot, at.key("provider"), message, Some(hint));
        return None;
    }
    Some(name.into())
}

/// Checks a task's choice of a provider, or its lack of one, against the known providers.
pub(super) fn check(checker: &mut Checker<'_>, fields: &Fields, at: At<'_>, method: &str, named: Option<&str>) {
    let catalog = checker.catalog;
    let Some(known) = catalog.providers() else { return };
    if !checker.listening() {
        return;
    }
    let serving = known.methods.get(method);
    match (named, fields.get("provider").or_else(|| fields.get("method"))) {
        (Some(name), Some((_, node))) if !serving.is_some_and(|it| it.contains_key(name)) => {
            unknown(checker, known, (node, at.key("provider")), method, name);
        }
        (None, Some((_, node))) => {
            let choices = serving.map(choices).unwrap_or_default();
            if choices.len() > 1 {
                ambiguous(checker, (node, at.key("method")), method, &choices);
            }
        }
        _ => {}
    }
}

fn unknown(checker: &mut Checker<'_>, known: &KnownProviders, (node, at): (&Node, At<'_>), method: &str, name: &str) {
    let serving: Vec<&String> = known.methods.get(method).into_iter().flat_map(BTreeMap::keys).collect();
    let near = closest(name, serving.iter().copied());
    let named = shorten(name);
    let message = match (known.names.contains(name), known.others) {
        (true, _) => format!("the provider `{named}` does not serve `{method}`"),
        (false, Others::None) => format!("there is no provider named `{named}`"),
        (false, Others::Later) => format!("no connected provider is named `{named}`: the task will wait for one"),
        (false, Others::Any) if near.is_none() => return,
        (false, Others::Any) => format!("no built-in provider is named `{named}`"),
    };
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if serving.is_empty() => format!("no known provider serves `{method}`"),
        None if known.others == Others::None => {
            format!("`{method}` is served by {}; `--provider FILE` adds another", list(serving))
        }
        None => format!("`{method}` is served by {}", list(serving)),
    };
    match known.others {
        Others::None => checker.report(node.spot, at, ErrorCode::ProviderNotFound, message, Some(hint)),
        Others::Later | Others::Any => checker.note(node.spot, at, message, hint),
    }
}

/// For each distinct set of addresses the first provider's name, and how its addresses are shown. A provider without an
/// address offers no choice.
fn choices(serving: &Serving) -> Vec<(&str, String)> {
    let mut seen = BTreeSet::new();
    let new = serving.iter().filter(|(_, addresses)| !addresses.is_empty() && seen.insert(*addresses));
    let shown =
        |address: &String| if address == "*" { "any address".to_owned() } else { shorten(address).into_owned() };
    new.map(|(name, addresses)| {
        let shown: Vec<String> = addresses.iter().take(SHOWN).map(shown).collect();
        (name.as_str(), shown.join(", "))
    })
    .collect()
}

fn ambiguous(checker: &mut Checker<'_>, (node, at): (&Node, At<'_>), method: &str, choices: &[(&str, String)]) {
    let shown: Vec<String> =
        choices.iter().take(SHOWN).map(|(name, addresses)| format!("`{name}` ({addresses})")).collect();
    let more = match choices.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "`{method}` is served by providers of different addresses, {}{more}: any may get the call",
        shown.join(", ")
    );
    let say: Vec<String> = choices.iter().take(SHOWN).map(|(name, _)| format!("`provider: {name}`")).collect();
    checker.wrong(node.spot, at, message, Some(format!("say {}", say.join(" or "))));
}

#[cfg(test)]
mod tests {
    use super::super::{AnyMethod, Checked, KnownProvider, Limits, examine};
    use super::*;

    fn known(others: Others) -> KnownProviders {
        let provider = |name: &str, method: &str, address: Option<&str>| KnownProvider {
            name: name.to_owned(),
            methods: vec![method.to_owned()],
            address: address.map(str::to_owned),
        };
        KnownProviders::new(
            [
                provider("crm", "http/request", Some("https://crm.example.com")),
                provider("crm_two", "http/request", Some("https://crm.example.com")),
                provider("http", "http/request", Some("*")),
                provider("util", "util/echo", None),
                provider("mine", "util/echo", None),
                provider("pool", "llm/chat", Some("http://one")),
                provider("pool", "llm/chat", Some("http://two")),
            ],
            others,
        )
    }

    fn checked(task: &str, others: Others) -> Checked {
        let (text, providers) = (format!("name: w\ntasks:\n- {{id: a, {task}}}\n"), known(others));
        let catalog = WithProviders { catalog: &AnyMethod, providers: &providers };
        examine(&text, "w.yaml", &catalog, &Limits::DEFAULT)
    }

    /// Problems and notes, as `line:column message; hint`.
    fn said(task: &str, others: Others) -> (Vec<String>, Vec<String>) {
        let checked = checked(task, others);
        let shown = |line: Option<u32>, column: Option<u32>, message: &str, hint: Option<&str>| {
            format!("{}:{} {message}; {}", line.unwrap_or(0), column.unwrap_or(0), hint.unwrap_or(""))
        };
        let problems = checked.workflow.err().unwrap_or_default();
        let problems = problems.iter().map(|it| shown(it.line, it.column, &it.message, it.hint.as_deref()));
        let notes = checked.notes.iter().map(|it| shown(it.line, it.column, &it.message, it.hint.as_deref()));
        (problems.collect(), notes.collect())
    }

    #[test]
    fn a_task_keeps_the_provider_that_it_names() {
        let workflow = checked("method: http/request, provider: crm", Others::None).workflow.expect("valid");
        assert_eq!(workflow.tasks[0].provider, Some("crm".into()));
        let workflow = checked("method: util/echo, provider: null", Others::None).workflow.expect("valid");
        assert_eq!(workflow.tasks[0].provider, None);
    }

    #[test]
    fn an_invalid_name_is_refused() {
        for (written, expected) in [
            ("3", "`provider` must be text"),
            ("''", "`provider` must be one line of 1 to 200 bytes"),
            ("\"a\\nb\"", "`provider` must be one line"),
            ("'${inputs.x}'", "`provider` takes no references"),
        ] {
            let (problems, _) = said(&format!("method: util/echo, provider: {written}"), Others::Any);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{written}: {problems:?}");
            assert!(problems[0].starts_with("3:40 "), "{problems:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_only_where_all_are_known() {
        let task = "method: http/request, provider: crn";
        let none = Vec::<String>::new;
        let wrong = vec!["3:43 there is no provider named `crn`; did you mean `crm`?".to_owned()];
        assert_eq!(said(task, Others::None), (wrong, none()));
        let note = "3:43 no connected provider is named `crn`: the task will wait for one; did you mean `crm`?";
        assert_eq!(said(task, Others::Later), (none(), vec![note.to_owned()]));
        let note = "3:43 no built-in provider is named `crn`; did you mean `crm`?";
        assert_eq!(said(task, Others::Any), (none(), vec![note.to_owned()]));
        let task = "method: http/request, provider: warehouse";
        assert_eq!(said(task, Others::Any), (none(), none()), "it may be another's");
        let hint = "`http/request` is served by `crm`, `crm_two`, `http`; `--provider FILE` adds another";
        let wrong = vec![format!("3:43 there is no provider named `warehouse`; {hint}")];
        assert_eq!(said(task, Others::None), (wrong, none()));
        let wrong = vec![format!("3:43 the provider `util` does not serve `http/request`; {hint}")];
        assert_eq!(said("method: http/request, provider: util", Others::None), (wrong, none()));
        let checked = checked("method: http/request, provider: crn", Others::None).workflow.expect_err("wrong");
        assert_eq!((checked[0].code, checked[0].field.as_str()), (ErrorCode::ProviderNotFound, "tasks[0].provider"));
    }

    #[test]
    fn a_task_whose_providers_have_different_addresses_must_name_one() {
        let (problems, _) = said("method: http/request", Others::Later);
        let expected = "3:19 `http/request` is served by providers of different addresses, `crm` (https://crm.example.com), \
                        `http` (any address): any may get the call; say `provider: crm` or `provider: http`";
        assert_eq!(problems, [expected]);
        assert!(said("method: util/echo", Others::None).0.is_empty(), "they say nothing of addresses");
        assert!(said("method: http/request, provider: http", Others::None).0.is_empty());
        assert!(said("method: llm/chat", Others::None).0.is_empty(), "those of one name share the calls");
    }
}
