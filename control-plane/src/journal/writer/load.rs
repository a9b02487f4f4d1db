//! Rebuilds the ledger from the store when the writer starts. A run that cannot be replayed is set aside, so that it
//! cannot keep the others from starting.

use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{Entry, RunId};

use super::WriterConfig;
use crate::journal::guard::guarded;
use crate::journal::{Reader, StoreError, Tail, Unreadable};

/// The ledger of all unfinished runs, at the end of the store.
pub(super) fn ledger(reader: &dyn Reader, tail: Tail, config: &WriterConfig) -> Result<Ledger, StoreError> {
    let mut ledger = Ledger::new(config.limits);
    reader.replay(config.replay_bytes, &mut |entry| match entry {
        Ok(entry) => record(&mut ledger, &entry),
        Err(unreadable) => skip(&mut ledger, unreadable),
    })?;
    ledger.resume_at(tail.position, tail.recorded_at);
    Ok(ledger)
}

fn record(ledger: &mut Ledger, entry: &Entry) -> Result<(), StoreError> {
    match entry.run_id {
        Some(run_id) => {
            replay(ledger, run_id, entry, Ledger::replay);
            Ok(())
        }
        None => ledger
            .apply(entry)
            .map_err(|error| StoreError::Entry { position: entry.position.0, why: error.to_string() }),
    }
}

/// Sets the run of an unreadable entry aside. An entry that belongs to no run cannot be skipped.
fn skip(ledger: &mut Ledger, unreadable: Unreadable) -> Result<(), StoreError> {
    match unreadable.run_id {
        Some(run_id) => {
            ledger.set_aside(run_id, unreadable.seq, unreadable.to_string());
            Ok(())
        }
        None => Err(StoreError::Unreadable(Box::new(unreadable))),
    }
}

/// Replays an entry of a run; sets the run aside if that panics.
pub(super) fn replay(
    ledger: &mut Ledger,
    run_id: RunId,
    entry: &Entry,
    record: impl FnOnce(&mut Ledger, RunId, &Entry),
) {
    if let Err(why) = guarded(|| record(ledger, run_id, entry)) {
        ledger.set_aside(run_id, entry.seq, format!("entry {}: {why}", entry.position));
        ledger.resume_at(entry.position, entry.recorded_at);
    }
}

pub(super) fn report_set_aside(ledger: &Ledger) {
    for (run_id, aside) in ledger.aside() {
        tracing::error!(
            gleitzeit.run.id = %run_id,
            why = aside.why,
            "a run cannot be replayed and is set aside; `gleitzeit store check` shows details, `gleitzeit cancel RUN --force` ends it"
        );
    }
}
