//! Mistakes that the simulation must find: each stands at the place where it could be made, and is made only where the
//! tests of `gleitzeit-mesh` plant it. Without the feature `planted`, which only they ask for, [`is`] is constant and
//! nothing is left of it.

/// A mistake in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The journal hears an owner whatever its epoch.
    NoFence,
    /// The journal hears of an attempt from engines that do not hold its lease.
    NoLease,
    /// The journal takes a report for an attempt that has ended.
    NoDuplicateCheck,
    /// The journal opens more attempts on an engine than it has slots.
    NoSlotCheck,
    /// A lost engine's leases are forgotten without an entry.
    ForgottenLeases,
    /// A task becomes ready when the first of its dependencies is done.
    EarlyReady,
    /// Failed tasks do not end their run.
    NoEnd,
    /// What was started in a run goes on when the run is cancelled.
    NoCancel,
    /// The request id of a submission is not looked up.
    NoRequestId,
    /// The queue does nothing about attempts that were lost.
    NoRequeue,
    /// The queue retries whatever the number of failures.
    NoMaxAttempts,
    /// Proposals that were not answered are not sent again after a reconnect.
    NoResend,
    /// An owner goes on from what the hub has sent rather than from what it has taken in.
    NoResync,
    /// A silent engine is never lost.
    NoLoss,
    /// An attempt that its engine does not take is not ended.
    NoAcceptTimer,
    /// The calls of a lost provider are not answered.
    LostCalls,
    /// A provider without a hub works on.
    NeverAlone,
    /// The time of an attempt counts while its call waits for a provider.
    TimeInLine,
    /// The hub gives calls to providers of any name, whatever their tasks say.
    AnyName,
    /// Protocols are removed although unfinished runs need them.
    NeededProtocols,
    /// What a component has seen of a lost history counts.
    LostSeen,
    /// What a watcher has read of a lost history counts.
    LostRead,
    /// An answer to a call of a lost history is taken for one of the present call.
    LostCallNames,
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether a mistake is made.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether a mistake is made: never.
#[cfg(not(feature = "planted"))]
pub const fn is(_: Bug) -> bool {
    false
}

/// Makes a mistake on this thread from now on.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
