//! Filters for runs and tasks: words that must all occur, and `NAME=VALUE`. Pure.

use gleitzeit_sdk::{RunFilter, RunSummary, Task, TaskFilter};

use crate::states;

/// The most characters of a filter.
const LONGEST: usize = 200;
/// The most labels of a filter; the control plane refuses more.
const LABELS: usize = 32;

/// Conditions that listed items must satisfy; without any, all are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    text: String,
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// A text found anywhere, in upper or lower case.
    Anywhere(String),
    /// A `NAME=VALUE` condition.
    Field(String, String),
}

impl Filter {
    pub(super) fn new(text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        let word = |word: &str| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Word::Field(name.to_owned(), value.to_owned()),
            _ => Word::Anywhere(word.to_lowercase()),
        };
        let words = text.split_whitespace().map(word).collect();
        Self { text, words }
    }

    /// The filter as it was typed.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn of_run(&self, run: &RunSummary) -> bool {
        let status = states::standing(run.status, run.error.as_ref());
        self.words.iter().all(|word| match word {
            Word::Anywhere(text) => {
                run.run_id.contains(text.as_str())
                    || status.contains(text.as_str())
                    || run.name.to_lowercase().contains(text)
                    || run.labels.iter().any(|(name, value)| format!("{name}={value}").to_lowercase().contains(text))
            }
            Word::Field(name, value) => match name.as_str() {
                "status" => is_one_of(status, value),
                "name" => run.name.contains(value.as_str()),
                "id" => run.run_id.starts_with(value.as_str()),
                label => run.labels.get(label) == Some(value),
            },
        })
    }

    pub(super) fn of_task(&self, task: &Task) -> bool {
        let status = states::task_status(task.status);
        self.words.iter().all(|word| match word {
            Word::Anywhere(text) => {
                task.id.to_lowercase().contains(text)
                    || status.contains(text.as_str())
                    || task.method.to_lowercase().contains(text)
            }
            Word::Field(name, value) => match name.as_str() {
                "status" => is_one_of(status, value),
                "id" | "name" => task.id.contains(value.as_str()),
                "method" => task.method.contains(value.as_str()),
                _ => false,
            },
        })
    }

    /// The part that the control plane can apply, among all runs.
    pub(super) fn asked(&self) -> RunFilter {
        let mut asked =
            RunFilter { statuses: self.statuses(&states::RUN_STATUSES, states::run_status), ..RunFilter::default() };
        for (name, value) in self.fields() {
            match name {
                "id" if is_id(value) => asked.run_id_prefix = Some(value.to_owned()),
                "status" | "name" | "id" => {}
                label if asked.labels.len() < LABELS => {
                    asked.labels.insert(label.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
        asked
    }

    /// The part that the control plane can apply to the tasks of a run.
    pub(super) fn asked_tasks(&self) -> TaskFilter {
        TaskFilter { statuses: self.statuses(&states::TASK_STATUSES, states::task_status), ..TaskFilter::default() }
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words.iter().filter_map(|word| match word {
            Word::Field(name, value) => Some((name.as_str(), value.as_str())),
            Word::Anywhere(_) => None,
        })
    }

    /// The statuses that the first `status=` means; all if there is none.
    fn statuses<S: Copy>(&self, all: &[S], word: impl Fn(S) -> &'static str) -> Vec<S> {
        let Some((_, list)) = self.fields().find(|(name, _)| *name == "status") else { return Vec::new() };
        all.iter().copied().filter(|status| is_one_of(word(*status), list)).collect()
    }
}

/// Whether a list contains a status; its items may be abbreviated.
fn is_one_of(status: &str, list: &str) -> bool {
    list.split(',').any(|word| !word.is_empty() && status.starts_with(&word.to_lowercase()))
}

/// Whether the control plane would accept this as the prefix of a run id.
fn is_id(text: &str) -> bool {
    text.chars().filter(|c| *c != '-').count() <= 32 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples;
    use gleitzeit_sdk::{RunStatus, TaskStatus};

    use super::*;

    #[test]
    fn runs_are_found_by_id_name_status_and_label() {
        let mut run = samples::run(7, "Nightly report", RunStatus::Failed);
        run.labels.insert("team".to_owned(), "Search".to_owned());
        for (text, found) in [
            ("", true),
            ("report", true),
            ("NIGHT failed", true),
            ("night completed", false),
            ("status=fail", true),
            ("status=running,failed", true),
            ("status=", false),
            ("team=Search", true),
            ("team=search", false),
            ("team=s", false),
            ("search", true),
            ("name=report", true),
            ("id=01a2", true),
            ("=", true),
            ("==", false),
        ] {
            assert_eq!(Filter::new(text).of_run(&run), found, "{text}");
        }
        assert!(Filter::new(&run.run_id[..13]).of_run(&run));
    }

    #[test]
    fn tasks_are_found_by_id_status_and_method() {
        let task = samples::task("fetch_page", TaskStatus::Running);
        for (text, found) in [
            ("fetch", true),
            ("page run", true),
            ("util/", true),
            ("method=util/echo", true),
            ("status=fail", false),
            ("id=page", true),
            ("color=red", false),
        ] {
            assert_eq!(Filter::new(text).of_task(&task), found, "{text}");
        }
    }

    #[test]
    fn the_control_plane_applies_the_conditions_that_it_supports() {
        let asked = Filter::new("report status=failed,can status=x team=search id=01a2 name=x").asked();
        assert_eq!(asked.statuses, [RunStatus::Failed, RunStatus::Cancelled]);
        assert_eq!(asked.run_id_prefix.as_deref(), Some("01a2"));
        assert_eq!(asked.labels.len(), 1);
        assert_eq!(asked.name, None, "a part of a name is found here");
        let tasks = Filter::new("fetch status=fa,sk id=x").asked_tasks();
        assert_eq!((tasks.statuses, tasks.task_ids.len()), (vec![TaskStatus::Failed, TaskStatus::Skipped], 0));
        let many: String = (0..60).map(|n| format!("{n}=x ")).collect();
        assert_eq!(Filter::new(&many).asked().labels.len(), LABELS, "more would be refused");
        assert_eq!(Filter::new("id=xyz").asked().run_id_prefix, None, "it would be refused");
        assert_eq!(Filter::new(&"x".repeat(900)).text.len(), LONGEST);
    }
}
