//! Proposals that the hub has not answered yet, in order. They survive reconnects; each is answered once and then gone.

use std::collections::BTreeMap;

use gleitzeit_run::id::{Position, Slice};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::{Command, Fence};
use gleitzeit_workflow::time::Instant;

use crate::frames::{FRAME_BYTES, Packer};
use crate::id::ProposalId;
use crate::role::{ANSWER_TIMEOUT_MS, Output};
use crate::wire::{Append, ProposalItem, ToHub};

/// The maximum number of proposals in transit; further ones wait here.
pub const MAX_UNANSWERED: usize = 1_000;
/// The estimated size of a proposal besides its payload; generous.
const OVERHEAD_BYTES: usize = 512;

/// The number of a proposal of this component, in the order in which they were made. On the wire it is the
/// proposal's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProposalNumber(u64);

impl ProposalNumber {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn id(self) -> ProposalId {
        self.0.to_string().into()
    }

    fn of(id: &ProposalId) -> Option<Self> {
        id.as_str().parse().ok().map(Self)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) fence: Option<Fence>,
    pub(super) command: Command,
    /// Whether its entry has been seen, so that it need not be sent again.
    pub(super) applied: bool,
    /// Whether it was made under an ownership that was revoked: it is not sent again, but its entry may still come.
    dropped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    last: ProposalNumber,
    items: BTreeMap<ProposalNumber, Outgoing>,
    /// Everything up to here has been sent on this socket.
    sent: ProposalNumber,
    unanswered: usize,
    waiting_since: Option<Instant>,
}

impl Outbox {
    pub(super) fn push(&mut self, fence: Option<Fence>, command: Command) -> ProposalNumber {
        self.last = self.last.next();
        self.items.insert(self.last, Outgoing { fence, command, applied: false, dropped: false });
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn get_mut(&mut self, id: &ProposalId) -> Option<&mut Outgoing> {
        self.items.get_mut(&ProposalNumber::of(id)?)
    }

    /// Takes out an answered proposal.
    pub(super) fn settle(&mut self, now: Instant, id: &ProposalId) -> Option<(ProposalNumber, Outgoing)> {
        let number = ProposalNumber::of(id)?;
        let item = self.items.remove(&number)?;
        if number <= self.sent {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.waiting_since = (self.unanswered > 0).then_some(now);
        Some((number, item))
    }

    /// Drops the proposals made under an ownership that is over. Those that were sent stay until they are answered or a
    /// new socket is open, because their entries may still come.
    pub(super) fn revoke(&mut self, slice: &Slice) {
        let sent = self.sent;
        self.items.retain(|number, item| {
            let of_slice = item.fence.as_ref().is_some_and(|fence| fence.slice == *slice);
            item.dropped |= of_slice;
            !of_slice || *number <= sent
        });
    }

    /// Forgets everything; numbers are not used again.
    pub(super) fn clear(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    /// A new socket: everything is to be sent again, except what is known to be recorded or no longer wanted.
    pub(super) fn rewind(&mut self) {
        self.items.retain(|_, item| !item.applied && !item.dropped && !planted_bugs::is(Bug::NoResend));
        (self.sent, self.unanswered, self.waiting_since) = (ProposalNumber::default(), 0, None);
    }

    /// Sends what may be sent. The first frame carries `position`; returns whether there was one.
    pub(super) fn flush(&mut self, now: Instant, mut position: Option<Position>, out: &mut Vec<Output>) -> bool {
        let before = out.len();
        let mut frame = Packer::new(FRAME_BYTES);
        let mut append = |proposals| Output::Send(ToHub::Append(Append { proposals, position: position.take() }));
        let mut sent = self.sent;
        for (number, item) in self.items.range(self.sent.next()..) {
            if self.unanswered >= MAX_UNANSWERED {
                break;
            }
            let size = OVERHEAD_BYTES + payload_bytes(&item.command);
            sent = *number;
            self.unanswered += 1;
            let proposal =
                ProposalItem { proposal_id: number.id(), fence: item.fence.clone(), command: item.command.clone() };
            out.extend(frame.push(proposal, size).map(&mut append));
        }
        self.sent = sent;
        if let Some(proposals) = frame.take() {
            out.push(append(proposals));
            self.waiting_since.get_or_insert(now);
        }
        out.len() > before
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since.plus_ms(ANSWER_TIMEOUT_MS))
    }
}

fn payload_bytes(command: &Command) -> usize {
    let failure = |error: &gleitzeit_workflow::error::Failure| {
        error.message.len() + error.data.as_ref().map_or(0, gleitzeit_workflow::payload::Payload::size_bytes)
    };
    match command {
        Command::ReadyTask(ready) => ready.parameters.size_bytes(),
        Command::CompleteAttempt(complete) => complete.result.size_bytes(),
        Command::FailAttempt(fail) => failure(&fail.error),
        Command::FailTask(fail) => failure(&fail.error),
        Command::CancelWorkflow(_)
        | Command::DispatchTask(_)
        | Command::RequeueTask(_)
        | Command::ScheduleRetry(_)
        | Command::StartAttempt(_)
        | Command::StopAttempt(_) => 0,
    }
}
