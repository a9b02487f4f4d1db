"""The payloads of a run's events, as types for checkers and editors; at run time they are plain dictionaries.

    for event in client.watch(run.id):
        if event.type == "task_completed":
            completed: TaskCompleted = event.payload
            print(completed["result"])

A newer control plane may send types and fields that are not listed here. ``payload`` is ``None`` if it was too large
(``payload_omitted``).
"""

from __future__ import annotations

from typing import Any, Dict, Literal, Mapping, TypedDict

#: The types of events, in the past tense.
EventType = Literal[
    "workflow_submitted",
    "workflow_cancel_requested",
    "workflow_completed",
    "workflow_failed",
    "workflow_cancelled",
    "task_ready",
    "task_dispatched",
    "task_started",
    "task_completed",
    "task_attempt_failed",
    "task_attempt_stopped",
    "task_requeued",
    "task_retry_scheduled",
    "task_failed",
    "task_skipped",
    "task_cancelled",
    "method_progress",
]


class _Detailed(TypedDict, total=False):
    #: Details such as a traceback: any JSON value.
    data: Any


class Error(_Detailed):
    """Why something failed."""

    code: int
    name: str
    message: str


class _Submission(TypedDict, total=False):
    labels: Dict[str, str]
    #: The caller's W3C trace context.
    traceparent: str
    #: The id of the run that this one repeats.
    retry_of: str


class WorkflowSubmitted(_Submission):
    """The run was accepted. Only the ``name`` of the workflow is sent, and neither files nor environment."""

    name: str
    inputs: Dict[str, Any]
    correlation_id: str


class WorkflowCancelRequested(TypedDict):
    """The run is being cancelled: a client requested it, or its time is up."""

    cause: Literal["requested", "timeout"]
    reason: str


class WorkflowCompleted(TypedDict):
    """All tasks completed; ``outputs`` is ``None`` if the workflow declares none."""

    outputs: Any


class WorkflowFailed(TypedDict):
    """A task failed for good, the outputs could not be evaluated, or the run's time was up."""

    error: Error


class _SetAside(TypedDict, total=False):
    #: The run's entries cannot be replayed; the reason says what is wrong with them.
    set_aside: bool


class WorkflowCancelled(_SetAside):
    """The run was cancelled, and its last attempt has ended."""

    reason: str


class _OfProvider(TypedDict, total=False):
    #: The provider that the task names; absent if it names none.
    provider: str


class TaskReady(_OfProvider):
    """All dependencies of the task have completed."""

    task_id: str
    method: str
    queue: str
    priority: int
    retry: Dict[str, Any]
    #: The parameters with all references resolved.
    parameters: Dict[str, Any]


class _OfAttempt(TypedDict):
    task_id: str
    #: The number of the attempt, from 1; 0 if there was none.
    attempt: int


class TaskDispatched(_OfAttempt, _OfProvider):
    """An attempt was assigned to an engine."""

    engine: str
    method: str


class TaskStarted(_OfAttempt):
    """The attempt has been running for a while."""

    #: For how many milliseconds it has been running.
    ran_ms: int


class _Carried(TypedDict, total=False):
    #: The result was carried over from the run that this one repeats.
    carried: bool


class TaskCompleted(_OfAttempt, _Carried):
    """The task has a result, after a provider worked on it for ``ran_ms``."""

    result: Any
    ran_ms: int


class _Delayed(TypedDict, total=False):
    #: The least delay, if the provider named one.
    retry_after_ms: int


class TaskAttemptFailed(_OfAttempt, _Delayed):
    """The attempt itself failed; ``retryable`` says whether a retry can help."""

    error: Error
    retryable: bool
    ran_ms: int


class _Late(TypedDict, total=False):
    #: It reported its end after the cancellation had begun.
    late_report: bool


class TaskAttemptStopped(_OfAttempt, _Late):
    """The attempt ended without an outcome of its work."""

    reason: Literal["engine_lost", "provider_lost", "no_provider", "not_taken", "drain", "cancelled"]
    engine: str


class TaskRequeued(_OfAttempt):
    """The task of a stopped attempt is tried again at once."""


class TaskRetryScheduled(_OfAttempt):
    """The task of a failed attempt is tried again after a delay."""

    delay_ms: int


class TaskFailed(_OfAttempt):
    """The task failed for good."""

    error: Error


class TaskSkipped(TypedDict):
    """The task cannot run; ``because`` names one that failed."""

    task_id: str
    because: str


class TaskCancelled(TypedDict):
    """The task ended because its run was cancelled."""

    task_id: str


#: The payload of each type; that of ``method_progress`` is any JSON value, for text ``{"text": ...}``.
PAYLOADS: Mapping[str, type] = {
    "workflow_submitted": WorkflowSubmitted,
    "workflow_cancel_requested": WorkflowCancelRequested,
    "workflow_completed": WorkflowCompleted,
    "workflow_failed": WorkflowFailed,
    "workflow_cancelled": WorkflowCancelled,
    "task_ready": TaskReady,
    "task_dispatched": TaskDispatched,
    "task_started": TaskStarted,
    "task_completed": TaskCompleted,
    "task_attempt_failed": TaskAttemptFailed,
    "task_attempt_stopped": TaskAttemptStopped,
    "task_requeued": TaskRequeued,
    "task_retry_scheduled": TaskRetryScheduled,
    "task_failed": TaskFailed,
    "task_skipped": TaskSkipped,
    "task_cancelled": TaskCancelled,
}
