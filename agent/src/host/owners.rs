//! Hosts of the queue and the resolver: they have no work besides their machines.

use std::future::{Future, pending};

use gleitzeit_mesh::role::queue::Queue;
use gleitzeit_mesh::role::resolver::Resolver;
use gleitzeit_mesh::role::{Input, Output};
use gleitzeit_workflow::time::Instant;

use super::{Event, Machine, Todo};

/// A machine that only talks to the hub.
pub(crate) trait Owner: Send {
    fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>);
    fn flush(&mut self, now: Instant, out: &mut Vec<Output>);
    fn next_deadline(&self) -> Option<Instant>;
}

impl Owner for Queue {
    fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        Queue::accept(self, now, input, out);
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        Queue::flush(self, now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Queue::next_deadline(self)
    }
}

impl Owner for Resolver {
    fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        Resolver::accept(self, now, input, out);
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        Resolver::flush(self, now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Resolver::next_deadline(self)
    }
}

/// Hosts a queue or a resolver.
pub(crate) struct OwnerHost<O>(pub(crate) O);

/// Owners have no reports.
pub(crate) enum Never {}

impl<O: Owner> Machine for OwnerHost<O> {
    type Report = Never;

    fn accept(&mut self, now: Instant, event: Event<Never>, todo: &mut Todo) {
        match event {
            Event::Hub(input) => self.0.accept(now, input, &mut todo.outputs),
            // Proposals are answered to the next owner, and a goodbye hands over the slices at once.
            Event::Drain { .. } => todo.drained = true,
            Event::Report(never) => match never {},
        }
    }

    fn flush(&mut self, now: Instant, todo: &mut Todo) {
        self.0.flush(now, &mut todo.outputs);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.0.next_deadline()
    }

    fn next_report(&mut self) -> impl Future<Output = Never> + Send {
        pending()
    }

    fn try_report(&mut self) -> Option<Never> {
        None
    }
}
