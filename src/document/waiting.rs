//! Why a run or a task waits, within other documents.

use gleitzeit_sdk::{Timestamp, Waiting};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct WaitingDocument<'a> {
    reason: &'a str,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    remedy: Option<&'a str>,
}

impl<'a> From<&'a Waiting> for WaitingDocument<'a> {
    fn from(waiting: &'a Waiting) -> Self {
        Self { reason: &waiting.reason, since: waiting.since, until: waiting.until, remedy: waiting.remedy.as_deref() }
    }
}
