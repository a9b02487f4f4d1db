//! The trace of each run: one tree, in which the phases of a task fill its time.

use std::collections::BTreeMap;

use gleitzeit_run::trace::{Recorder, Span, SpanId};
use gleitzeit_run::{Entry, Event, RunId};

use super::checker::Verified;

#[derive(Debug, Default)]
pub(super) struct Traces {
    runs: BTreeMap<RunId, (Recorder, Vec<Span>)>,
}

impl Traces {
    /// Takes an entry that became durable; at the end of its run the trace must be complete.
    pub(super) fn take(&mut self, entry: &Entry) -> Verified {
        let Some(run_id) = entry.run_id else { return Ok(()) };
        if let Some(recorder) = Recorder::begin(entry) {
            self.runs.insert(run_id, (recorder, Vec::new()));
            return Ok(());
        }
        let Some((recorder, spans)) = self.runs.get_mut(&run_id) else {
            return Err("an entry of a run that has not begun".to_owned());
        };
        recorder.record(entry, spans);
        if matches!(entry.event, Event::WorkflowCompleted(_) | Event::WorkflowFailed(_) | Event::WorkflowCancelled(_)) {
            let (recorder, spans) = self.runs.remove(&run_id).expect("it is there");
            // The open spans include the root.
            let left = recorder.open().len() - 1;
            if left > 0 {
                return Err(format!("{left} spans are open at the end of the run"));
            }
            return whole(&spans).map_err(|why| format!("its trace is torn: {why}\n  {spans:#?}"));
        }
        Ok(())
    }
}

fn whole(spans: &[Span]) -> Verified {
    let by_id: BTreeMap<SpanId, &Span> = spans.iter().map(|span| (span.span_id, span)).collect();
    if by_id.len() != spans.len() {
        return Err("an id stands twice".to_owned());
    }
    let mut children: BTreeMap<SpanId, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        match span.parent.filter(|_| !span.is_remote) {
            Some(parent) => match by_id.get(&parent) {
                Some(parent) if parent.start <= span.start && span.end <= parent.end => {
                    children.entry(parent.span_id).or_default().push(span);
                }
                Some(_) => return Err(format!("`{}` is longer than what it is part of", span.name)),
                None => return Err(format!("`{}` has no parent", span.name)),
            },
            None if span.name.starts_with("workflow ") => {}
            None => return Err(format!("`{}` is no run", span.name)),
        }
    }
    for task in spans.iter().filter(|span| span.name.starts_with("task ")) {
        let mut phases = children.remove(&task.span_id).unwrap_or_default();
        phases.sort_by_key(|phase| (phase.start, phase.end));
        let mut at = task.start;
        for phase in phases {
            if phase.start != at {
                return Err(format!("a gap before `{}` of `{}`", phase.name, task.name));
            }
            at = phase.end.unwrap_or(at);
        }
        if Some(at) != task.end {
            return Err(format!("a gap at the end of `{}`", task.name));
        }
    }
    Ok(())
}
