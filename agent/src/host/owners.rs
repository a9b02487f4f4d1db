//! Hosts of the queue and the resolver: they have no work besides their machines.

use std::future::{Future, pending};

use gleitzeit_mesh::role::queue::Queue;
use gleitzeit_mesh::role::resolver::Resolver;
use gleitzeit_workflow::time::Instant;

use super::{Event, Machine, Todo};

/// Hosts a queue or a resolver: a machine that only talks to the hub.
pub(crate) enum OwnerHost {
    Queue(Queue),
    Resolver(Resolver),
}

/// Owners have no reports.
pub(crate) enum Never {}

impl Machine for OwnerHost {
    type Report = Never;

    fn accept(&mut self, now: Instant, event: Event<Never>, todo: &mut Todo) {
        match event {
            Event::Hub(input) => match self {
                Self::Queue(queue) => queue.accept(now, input, &mut todo.outputs),
                Self::Resolver(resolver) => resolver.accept(now, input, &mut todo.outputs),
            },
            // Proposals are answered to the next owner, and a goodbye hands over the slices at once.
            Event::Drain { .. } => todo.drained = true,
            Event::Report(never) => match never {},
        }
    }

    fn flush(&mut self, now: Instant, todo: &mut Todo) {
        match self {
            Self::Queue(queue) => queue.flush(now, &mut todo.outputs),
            Self::Resolver(resolver) => resolver.flush(now, &mut todo.outputs),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Queue(queue) => queue.next_deadline(),
            Self::Resolver(resolver) => resolver.next_deadline(),
        }
    }

    fn next_report(&mut self) -> impl Future<Output = Never> + Send {
        pending()
    }

    fn try_report(&mut self) -> Option<Never> {
        None
    }
}
