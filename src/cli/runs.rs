//! The grammar of the commands about any number of runs: submit, list, cancel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gleitzeit_workflow::Timestamp;

use super::server::age;
use super::{ClientArgs, InputArgs, OutputArgs};

/// `gleitzeit submit`
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Workflows (YAML or JSON; `-` reads stdin), and inputs for each of them, as with `--input`
    #[arg(required = true, value_name = "FILE|NAME=VALUE")]
    pub(crate) words: Vec<OsString>,
    /// An input: NAME=VALUE (read as JSON, else as text) or NAME=@FILE (text of a file)
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// A label: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Wait until every run has ended and exit by their outcome
    #[arg(long)]
    pub(crate) wait: bool,
    /// Show the run's progress until it ends, as `run` does, and exit by its outcome; Ctrl-C leaves it running
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Check everything and print the plan: steps, tasks, and the providers that would serve them; nothing is sent
    #[arg(long, conflicts_with_all = ["wait", "follow"])]
    pub(crate) dry_run: bool,
    /// Makes the submission idempotent: the same id with the same body gives the same run; for one file
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl SubmitArgs {
    /// The files among the words, and the inputs for all of them. A word with `=` is an input, unless a file with that
    /// name exists.
    pub(crate) fn files_and_inputs(&self) -> (Vec<PathBuf>, InputArgs) {
        let (mut files, mut given) = (Vec::new(), Vec::new());
        for word in &self.words {
            match word.to_str().filter(|text| is_input(text) && !Path::new(text).exists()) {
                Some(input) => given.push(input.to_owned()),
                None => files.push(PathBuf::from(word)),
            }
        }
        (files, InputArgs { given, inputs: self.inputs.clone(), labels: self.labels.clone() })
    }
}

fn is_input(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| !name.is_empty())
}

/// `gleitzeit list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only runs in these states: running, completed, failed, cancelled, interrupted
    ///
    /// A run is interrupted if it has not ended and no process works on it; `running` includes such runs.
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Only runs of workflows with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only runs with this label: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Only runs submitted at this time or later: an age such as 10m, 2h, 3d, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "AGE|TIME", value_parser = point)]
    pub(crate) since: Option<Point>,
    /// Only runs submitted before this time: as for --since
    #[arg(long, value_name = "AGE|TIME", value_parser = point)]
    pub(crate) until: Option<Point>,
    /// The maximum number of runs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Continue after the previous page: its `next_page_token`
    #[arg(long, value_name = "TOKEN")]
    pub(crate) page_token: Option<String>,
    /// Keep showing the newest runs and their changes, until Ctrl-C
    #[arg(short, long, conflicts_with = "page_token")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `gleitzeit cancel`
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Run ids, unique prefixes of them, or `last`
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "labels", "name"])]
    pub(crate) runs: Vec<String>,
    /// Every run that has not ended; with --label or --name only those that match
    #[arg(long, conflicts_with = "runs")]
    pub(crate) all: bool,
    /// Every run with this label that has not ended: NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE", conflicts_with = "runs")]
    pub(crate) labels: Vec<String>,
    /// Every run of workflows with this name that has not ended
    #[arg(long, conflicts_with = "runs")]
    pub(crate) name: Option<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The reason; shown with the run
    #[arg(long, default_value = "cancelled from the command line")]
    pub(crate) reason: String,
    /// Also end a run that was set aside because its entries cannot be replayed
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A point in time as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// This long ago.
    Ago(Duration),
    /// At this time.
    At(Timestamp),
}

impl Point {
    /// The point as a timestamp, relative to `now`.
    pub(crate) fn seen_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(age) => now.minus_ms(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            Self::At(time) => time,
        }
    }
}

/// Parses RFC 3339, a date (its beginning in UTC), or an age.
fn point(text: &str) -> Result<Point, String> {
    let text = text.trim();
    let time = Timestamp::parse(text).or_else(|_| Timestamp::parse(&format!("{text}T00:00:00Z")));
    match time {
        Ok(time) => Ok(Point::At(time)),
        Err(_) => age(text).map(Point::Ago).map_err(|_| {
            "expected an age such as 10m, 2h or 3d, or a time such as 2026-01-31 or 2026-01-31T12:00:00Z".to_owned()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::TokenArgs;
    use super::*;

    #[test]
    fn a_point_in_time_is_an_age_a_day_or_a_time() {
        let at = |text: &str| Point::At(Timestamp::parse(text).expect("valid"));
        let minutes = |n: u64| Point::Ago(Duration::from_secs(60 * n));
        for (text, expected) in [
            ("10m", Some(minutes(10))),
            ("2h", Some(minutes(120))),
            ("3d", Some(minutes(3 * 24 * 60))),
            ("90", Some(Point::Ago(Duration::from_secs(90)))),
            ("2026-01-31", Some(at("2026-01-31T00:00:00Z"))),
            ("2026-01-31T12:00:00+01:00", Some(at("2026-01-31T11:00:00Z"))),
            ("yesterday", None),
            ("-5m", None),
            ("2026-13-01", None),
            ("", None),
        ] {
            assert_eq!(point(text).ok(), expected, "{text}");
        }
        assert_eq!(minutes(1).seen_at(Timestamp(61_000)), Timestamp(1_000));
    }

    #[test]
    fn a_word_with_an_equals_sign_is_an_input_unless_it_is_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join("odd=name.yaml");
        std::fs::write(&odd, "").expect("written");
        let words = [OsString::from("a.yaml"), "n=1".into(), odd.clone().into(), "b.yaml".into(), "=x".into()];
        let args = SubmitArgs {
            words: words.to_vec(),
            inputs: vec!["m=2".to_owned()],
            labels: Vec::new(),
            wait: false,
            follow: false,
            dry_run: false,
            request_id: None,
            client: ClientArgs { hub_url: None, token: TokenArgs::None },
            output: OutputArgs { format: super::super::Format::Table, json: false },
        };
        let (files, given) = args.files_and_inputs();
        assert_eq!(files, [PathBuf::from("a.yaml"), odd, "b.yaml".into(), "=x".into()]);
        assert_eq!((given.given, given.inputs), (vec!["n=1".to_owned()], vec!["m=2".to_owned()]));
    }
}
