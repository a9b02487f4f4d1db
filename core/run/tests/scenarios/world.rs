//! The run of a scenario: what each line of the file does to it.

use std::sync::Arc;

use gleitzeit_fixtures::{run_id, submitted, task, workflow};
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{ApplyError, Entry, Event, Limits, Position, Refusal, Request, Seq, State, Verdict};
use gleitzeit_workflow::spec::{Priority, Task, Workflow};
use gleitzeit_workflow::{Failure, Timestamp};
use serde_json::Value;

use crate::line::{Words, read_command, read_event, write_event, write_failure};
use crate::show;

/// What a line may begin with.
const DIRECTIVES: &str = "`#`, `workflow`, `outputs`, `limit`, `after`, `at`, `>`, `!` or `?`";

/// What is wrong with a directive, or with one of the lines below it.
pub(crate) struct Problem {
    /// The number of lines between the directive and the wrong line.
    pub(crate) below: usize,
    pub(crate) text: String,
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { below: 0, text }
    }
}

/// A run, and the time.
#[derive(Clone)]
pub(crate) struct World {
    workflow: Workflow,
    limits: Limits,
    now: Timestamp,
    /// The run, from the first line that needs it.
    state: Option<State>,
}

impl World {
    pub(crate) fn new() -> Self {
        let workflow = workflow(Vec::new(), &[]);
        Self { workflow, limits: Limits::default(), now: Timestamp(0), state: None }
    }

    /// Carries out one directive with the indented lines below it, and returns the lines that belong below it. `other`
    /// is the end of another scenario.
    pub(crate) fn step(
        &mut self,
        directive: &str,
        below: &[&str],
        other: impl Fn(&str) -> Result<Self, String>,
    ) -> Result<Vec<String>, Problem> {
        let mut words = Words(directive);
        let first = words.next().unwrap_or("#");
        let may_have_lines = ["workflow", "outputs", ">", "!", "?"].contains(&first);
        if !below.is_empty() && !may_have_lines {
            return Err(Problem { below: 1, text: "expected no indented line here".to_owned() });
        }
        if ["workflow", "outputs", "limit", "after"].contains(&first) && self.state.is_some() {
            return Err(format!("expected `{first}` before everything that happens").into());
        }
        match first {
            comment if comment.starts_with('#') => {}
            "workflow" => self.read_workflow(words, below)?,
            "outputs" => self.read_outputs(words, below)?,
            "limit" => self.limits.max_payload_bytes = last_number(words, "a number of bytes")?,
            "after" => *self = other(words.expect("the name of a scenario")?)?,
            "at" => self.advance(last_number(words, "a time in milliseconds")?)?,
            ">" => return Ok(self.command(words.0.trim())?),
            "!" => return Ok(self.entry(words)?),
            "?" => return Ok(self.show(words)?),
            other => return Err(format!("expected {DIRECTIVES}, found `{other}`").into()),
        }
        Ok(below.iter().map(|line| line.trim().to_owned()).collect())
    }

    fn read_workflow(&mut self, mut words: Words, below: &[&str]) -> Result<(), Problem> {
        while let Some(option) = words.next() {
            match option {
                "timeout_ms" => self.workflow.timeout_ms = Some(words.number("a number of milliseconds")?),
                other => return Err(format!("expected `timeout_ms`, found `{other}`").into()),
            }
        }
        for (below, line) in (1..).zip(below) {
            self.workflow.tasks.push(read_task(line.trim()).map_err(|text| Problem { below, text })?);
        }
        let ids: Vec<_> = self.workflow.tasks.iter().map(|task| task.id.clone()).collect();
        for (below, task) in (1..).zip(&self.workflow.tasks) {
            if let Some(unknown) = task.dependencies.iter().find(|id| !ids.contains(id)) {
                return Err(Problem { below, text: format!("expected the id of a task, found `{unknown}`") });
            }
        }
        if ids.is_empty() { Err("expected tasks below `workflow`".to_owned().into()) } else { Ok(()) }
    }

    fn read_outputs(&mut self, mut words: Words, below: &[&str]) -> Result<(), Problem> {
        words.end()?;
        for (below, line) in (1..).zip(below) {
            let Some((name, template)) = line.trim().split_once(": ") else {
                return Err(Problem { below, text: format!("expected `NAME: TEMPLATE`, found `{}`", line.trim()) });
            };
            self.workflow.outputs.insert(name.to_owned(), Value::from(template));
        }
        Ok(())
    }

    fn advance(&mut self, ms: i64) -> Result<(), String> {
        if ms < self.now.as_millis() {
            return Err(format!("expected a time that is not before {}, found {ms}", self.now.as_millis()));
        }
        self.begin()?;
        self.now = Timestamp(ms);
        Ok(())
    }

    /// The run, which begins with the first line that needs it.
    fn begin(&mut self) -> Result<&mut State, String> {
        if self.workflow.tasks.is_empty() {
            return Err("expected `workflow` or `after` before this line".to_owned());
        }
        let new = || {
            let mut state = State::new(run_id(1), submitted(self.workflow.clone()), self.now);
            state.seq = Seq(1);
            state
        };
        Ok(self.state.get_or_insert_with(new))
    }

    fn command(&mut self, text: &str) -> Result<Vec<String>, String> {
        match text {
            "retry_run" => return self.retry(false),
            "retry_run all" => return self.retry(true),
            _ => {}
        }
        let (now, limits, state) = (self.now, self.limits, self.begin()?);
        let asked = read_command(text, state.run_id, state.workflow())?;
        let events = match state.decide(&asked.command, asked.by.as_ref(), now, limits) {
            Ok(events) => events,
            Err(refusal) => return Ok(vec![refused(refusal)]),
        };
        for event in &events {
            record(state, event.clone(), now, None).map_err(|error| format!("what was decided is {error}"))?;
        }
        events.iter().map(|event| write_event(event, &self.workflow)).collect()
    }

    /// Goes on with a new run that repeats the present one.
    fn retry(&mut self, all: bool) -> Result<Vec<String>, String> {
        let (now, limits, state) = (self.now, self.limits, self.begin()?);
        let new = run_id(state.run_id.0.as_u128() + 1);
        let request = Request::Retry {
            old: Arc::new(state.clone()),
            run_id: new,
            all,
            correlation_id: new.correlation_id(),
            traceparent: None,
            request: None,
            known: None,
        };
        let mut ledger = Ledger::new(limits);
        let outcome = ledger.propose(&request, now).map_err(|error| error.to_string())?;
        match outcome.verdict {
            Verdict::Ok { .. } => *state = ledger.run(new).cloned().ok_or("the new run is not there")?,
            Verdict::Invalid(failure) => return Ok(vec![refused(Refusal::Invalid(failure))]),
            other => return Err(format!("a retry is answered by {other:?}")),
        }
        outcome.entries.iter().map(|entry| write_event(&entry.event, &self.workflow)).collect()
    }

    /// Applies an entry whatever `decide` says of it: once, or for each task on a copy of its own.
    fn entry(&mut self, mut words: Words) -> Result<Vec<String>, String> {
        let (now, state) = (self.now, self.begin()?);
        let mut text = words.0.trim();
        let seq = match words.next() {
            Some("entry") => Some(Seq(words.number("the number of an entry")?)),
            _ => None,
        };
        text = seq.map_or(text, |_| words.0.trim());
        let Some((kind, fields)) = text.split_once(" each") else {
            let mut after = state.clone();
            let event = read_event(text, state.workflow())?;
            return Ok(vec![match record(&mut after, event, now, seq) {
                Ok(()) => {
                    *state = after;
                    "accepted".to_owned()
                }
                Err(rejected) => rejected,
            }]);
        };
        let mut lines = Vec::new();
        for at in 0..state.tasks.len() {
            let (id, mut after) = (state.task(at).id.to_string(), state.clone());
            let event = read_event(&format!("{kind} {id}{fields}"), state.workflow())?;
            let outcome = record(&mut after, event, now, seq).map(|()| {
                let (before, counts) = (show::counts(state), show::counts(&after));
                let counts = if before == counts { String::new() } else { format!(" ({counts})") };
                format!("accepted{counts}: {}", show::task(&after, at))
            });
            lines.push((id, outcome.unwrap_or_else(|rejected| rejected)));
        }
        Ok(show::aligned(&lines))
    }

    fn show(&mut self, mut words: Words) -> Result<Vec<String>, String> {
        let what = words.expect("`state` or `waiting`")?;
        words.end()?;
        match what {
            "state" => Ok(show::state(self.begin()?)),
            "waiting" => Ok(show::waiting(self.begin()?)),
            other => Err(format!("expected `state` or `waiting`, found `{other}`")),
        }
    }
}

/// Records an event as the next entry, or under a number; the error is how the scenario says that it is rejected.
fn record(state: &mut State, event: Event, now: Timestamp, seq: Option<Seq>) -> Result<(), String> {
    let seq = seq.unwrap_or(state.seq.next());
    let (position, run_id) = (Position(seq.0), Some(state.run_id));
    let entry = Entry { position, run_id, seq, recorded_at: now, queue: None, event };
    state.apply(&entry).map_err(|error| match error {
        ApplyError::Sequence { expected, found, .. } => format!("rejected: entry {found} where {expected} follows"),
        ApplyError::UnknownTask { task, .. } => format!("rejected: unknown task `{task}`"),
        ApplyError::Contradiction { why, .. } => format!("rejected: {why}"),
    })
}

fn refused(refusal: Refusal) -> String {
    let invalid = |failure: Failure| format!("refused: invalid {}", write_failure(&failure));
    match refusal {
        Refusal::Duplicate => "refused: duplicate".to_owned(),
        Refusal::Fenced => "refused: fenced".to_owned(),
        Refusal::Invalid(failure) => invalid(failure),
    }
}

fn last_number<T: std::str::FromStr>(mut words: Words, what: &str) -> Result<T, String> {
    let number = words.number(what)?;
    words.end()?;
    Ok(number)
}

/// Reads `ID (OPTION VALUE, …): DEPENDENCY, …`, where options and dependencies may be absent.
fn read_task(line: &str) -> Result<Task, String> {
    let (head, dependencies) = line.split_once(':').unwrap_or((line, ""));
    let dependencies: Vec<&str> = dependencies.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    let (id, options) = match head.split_once(" (") {
        Some((id, options)) => (id, options.strip_suffix(')').ok_or_else(|| format!("expected `)`, found `{head}`"))?),
        None => (head, ""),
    };
    if id.is_empty() || id.contains(' ') {
        return Err(format!("expected `TASK` or `TASK: DEPENDENCY, …`, found `{line}`"));
    }
    let mut task = task(id, &dependencies);
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let mut words = Words(option);
        match words.expect("an option")? {
            "priority" => task.priority = Priority(words.number("a priority")?),
            "timeout_ms" => task.timeout_ms = Some(words.number("a number of milliseconds")?),
            "max_attempts" => task.retry.max_attempts = words.number("a number of attempts")?,
            "method" => task.method = words.expect("a method")?.into(),
            "provider" => task.provider = Some(words.expect("a provider")?.into()),
            other => {
                let options = "`priority`, `timeout_ms`, `max_attempts`, `method` or `provider`";
                return Err(format!("expected {options}, found `{other}`"));
            }
        }
        words.end()?;
    }
    Ok(task)
}
