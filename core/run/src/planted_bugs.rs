//! Deliberate bugs that the simulation must find. Each is placed where it could be made, and is active only if the
//! tests of `gleitzeit-mesh` plant it. Without the feature `planted`, which only those tests enable, [`is`] is constant
//! and compiles to nothing.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The journal accepts an owner's command whatever its epoch.
    NoFence,
    /// The journal accepts reports on an attempt from engines that do not hold its lease.
    NoLease,
    /// The journal accepts a report on an attempt that has ended.
    NoDuplicateCheck,
    /// The journal opens more attempts on an engine than it has slots.
    NoSlotCheck,
    /// A lost engine's leases are forgotten without an entry.
    ForgottenLeases,
    /// A task becomes ready when the first of its dependencies is completed.
    EarlyReady,
    /// Failed tasks do not end their run.
    NoEnd,
    /// Started work continues when its run is cancelled.
    NoCancel,
    /// The request id of a submission is ignored.
    NoRequestId,
    /// The queue ignores lost attempts.
    NoRequeue,
    /// The queue retries without limit.
    NoMaxAttempts,
    /// Unanswered proposals are not sent again after a reconnect.
    NoResend,
    /// An owner continues from what the hub has sent rather than from what the owner has processed.
    NoResync,
    /// A silent engine is never declared lost.
    NoLoss,
    /// An attempt that its engine does not take is never ended.
    NoAcceptTimer,
    /// The calls of a lost provider are never answered.
    LostCalls,
    /// A provider without a hub continues its work.
    NeverAlone,
    /// The time that a call waits for a provider counts against the attempt's timeout.
    TimeInLine,
    /// The hub gives calls to providers of any name, ignoring the name in the task.
    AnyName,
    /// Protocols are removed although unfinished runs need them.
    NeededProtocols,
    /// What a component has seen of a lost history still counts.
    LostSeen,
    /// What a watcher has read of a lost history still counts.
    LostRead,
    /// The answer to a call of a lost history is taken for the answer to a current call.
    LostCallNames,
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether a bug is planted.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether a bug is planted: never.
#[cfg(not(feature = "planted"))]
pub const fn is(_: Bug) -> bool {
    false
}

/// Plants a bug on this thread, or removes it.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
