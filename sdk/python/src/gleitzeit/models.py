"""Runs, tasks and events from the control plane, as plain values."""

from __future__ import annotations

import datetime
import html
import json
import warnings
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional

from google.protobuf.message import Message

from .errors import GleitzeitError
from .v1 import run_pb2, workflow_pb2

Json = Any
FINAL = frozenset({"completed", "failed", "cancelled"})


class WorkflowNote(UserWarning):
    """A part of a workflow that is allowed but probably not meant, with its place and what to write instead."""


@dataclass(frozen=True)
class Failure:
    """Why something failed."""

    code: int
    name: str
    message: str
    details: Json = None


@dataclass(frozen=True)
class Waiting:
    """What an unfinished run or task waits for."""

    reason: str
    since: Optional[datetime.datetime] = None
    until: Optional[datetime.datetime] = None
    remedy: str = ""


@dataclass(frozen=True)
class Task:
    """One task of a run."""

    id: str
    status: str
    attempt: int
    method: str
    queue: str = ""
    result: Json = None
    result_omitted: bool = False
    error: Optional[Failure] = None
    waiting: Optional[Waiting] = None
    started_at: Optional[datetime.datetime] = None
    finished_at: Optional[datetime.datetime] = None
    #: The tasks that must complete before it; empty unless ``tasks`` was called with ``dependencies``.
    dependencies: tuple[str, ...] = ()
    #: The provider that must serve it, if the workflow names one; otherwise empty.
    provider: str = ""


@dataclass(frozen=True)
class Run:
    """One submission of a workflow. ``run["task"]`` is a task's result."""

    id: str
    correlation_id: str
    name: str
    status: str
    submitted_at: Optional[datetime.datetime] = None
    finished_at: Optional[datetime.datetime] = None
    outputs: Json = None
    error: Optional[Failure] = None
    labels: Mapping[str, str] = field(default_factory=dict)
    retry_of: str = ""
    tasks: Mapping[str, Task] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the run has ended, so that nothing about it changes any more."""
        return self.status in FINAL

    def __getitem__(self, task: str) -> Json:
        found = self.tasks[task]
        if found.status != "completed":
            raise KeyError(f"task `{task}` has no result: it is {found.status}")
        return found.result

    def _repr_html_(self) -> str:
        """The HTML that notebooks show."""
        rows = "".join(
            f"<tr><td>{html.escape(task.id)}</td><td>{html.escape(task.status)}</td>"
            f"<td><code>{html.escape(_short(task))}</code></td></tr>"
            for task in self.tasks.values()
        )
        return (
            f"<b>{html.escape(self.name)}</b> <code>{self.id}</code>: {html.escape(self.status)}"
            f"<table><tr><th>task</th><th>status</th><th>result</th></tr>{rows}</table>"
        )


@dataclass(frozen=True)
class Output:
    """A piece of a task's output: whole lines if there are any, otherwise as much of one line as there is.

    ``stream`` is ``stdout`` or ``stderr``; it is empty for text that does not come from a process, such as a model's.
    ``offset`` is the position of the text in its stream, in bytes of UTF-8: a gap after the previous piece means that
    pieces were lost. The text of a ``note`` is a remark about the output rather than output.
    """

    text: str
    stream: str = ""
    offset: Optional[int] = None
    note: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    #: Its number among the events of the run, from 1, without gaps; 0 for ``method_progress``, which is not recorded.
    seq: int
    #: The type: an ``EventType`` of :mod:`gleitzeit.events`, or one of a newer control plane.
    type: str
    #: The id of the task that it is about; empty if it is about the run.
    task: str
    #: The number of the attempt that it is about, from 1; 0 if it is about none.
    attempt: int
    #: When it was recorded; for ``method_progress`` when the control plane received it.
    time: Optional[datetime.datetime]
    #: Its data, as :mod:`gleitzeit.events` describes it for each type.
    payload: Json = None
    #: The payload is larger than 1 MiB and was left out: ``tasks`` has results of any size.
    payload_omitted: bool = False

    @property
    def output(self) -> Optional[Output]:
        """The output in this event, if it has any: a ``method_progress`` with text."""
        data = self.payload
        if self.type != "method_progress" or not isinstance(data, dict) or not isinstance(data.get("text"), str):
            return None
        stream, offset = data.get("stream"), data.get("offset")
        if stream not in ("stdout", "stderr"):
            return Output(data["text"])
        is_place = isinstance(offset, int) and not isinstance(offset, bool)
        return Output(data["text"], stream, offset if is_place else None, data.get("note") is True)


@dataclass(frozen=True)
class Explanation:
    """Why a run, or one of its tasks, has not ended."""

    run_id: str
    name: str
    status: str
    waiting: Optional[Waiting]
    error: Optional[Failure]
    tasks: tuple[Task, ...]


def _short(task: Task) -> str:
    if task.error is not None:
        return task.error.message
    text = "" if task.result is None else json.dumps(task.result, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"


def _time(message: Message, name: str) -> Optional[datetime.datetime]:
    if not message.HasField(name):
        return None
    stamp = getattr(message, name)
    try:
        value: datetime.datetime = stamp.ToDatetime(tzinfo=datetime.timezone.utc)
    except (ValueError, OverflowError) as error:
        found = f"{stamp.seconds} s and {stamp.nanos} ns since 1970"
        raise GleitzeitError(f"the control plane sent a `{name}` that is not a valid time: {found}") from error
    return value


def _json(message: Message, name: str) -> Json:
    return json.loads(getattr(message, name)) if message.HasField(name) else None


def _failure(message: Any) -> Optional[Failure]:
    if not message.HasField("error"):
        return None
    error = message.error
    return Failure(error.code, error.name, error.message, _json(error, "details_json"))


def _waiting(message: Any) -> Optional[Waiting]:
    if not message.HasField("waiting"):
        return None
    waiting = message.waiting
    return Waiting(waiting.reason, _time(waiting, "since"), _time(waiting, "until"), waiting.remedy)


def run_status(value: Any) -> str:
    """`completed` for `RUN_STATUS_COMPLETED`."""
    return _word(run_pb2.RunStatus.Name(value), "RUN_STATUS_")


def task(message: Any) -> Task:
    """Converts a task message."""
    return Task(
        id=message.id,
        status=_word(run_pb2.TaskStatus.Name(message.status), "TASK_STATUS_"),
        attempt=message.attempt,
        method=message.method,
        queue=message.queue,
        result=_json(message, "result_json"),
        result_omitted=message.result_omitted,
        error=_failure(message),
        waiting=_waiting(message),
        started_at=_time(message, "started_at"),
        finished_at=_time(message, "finished_at"),
        dependencies=tuple(message.dependencies),
        provider=message.provider,
    )


def run(message: Any) -> Run:
    """Converts the message of a run, or of a run in a list."""
    tasks = getattr(message, "tasks", ())
    has_outputs = "outputs_json" in message.DESCRIPTOR.fields_by_name
    return Run(
        id=message.run_id,
        correlation_id=message.correlation_id,
        name=message.name,
        status=run_status(message.status),
        submitted_at=_time(message, "submitted_at"),
        finished_at=_time(message, "finished_at"),
        outputs=_json(message, "outputs_json") if has_outputs else None,
        error=_failure(message),
        labels=dict(message.labels),
        retry_of=message.retry_of,
        tasks={it.id: task(it) for it in tasks},
    )


def event(message: Any) -> Event:
    """Converts an event message."""
    return Event(
        seq=message.seq,
        type=message.type,
        task=message.task_id,
        attempt=message.attempt,
        time=_time(message, "time"),
        payload=_json(message, "payload_json"),
        payload_omitted=message.payload_omitted,
    )


def explanation(message: Any) -> Explanation:
    """Converts an explanation message."""
    return Explanation(
        run_id=message.run_id,
        name=message.name,
        status=run_status(message.status),
        waiting=_waiting(message),
        error=_failure(message),
        tasks=tuple(task(it) for it in message.tasks),
    )


def _word(name: str, prefix: str) -> str:
    return name[len(prefix) :].lower()


def warn(notes: Iterable[workflow_pb2.Note]) -> None:
    """Issues the notes on a workflow as warnings."""
    for note in notes:
        hint = f" ({note.hint})" if note.hint else ""
        warnings.warn(f"{note.file}:{note.line}:{note.column}: {note.message}{hint}", WorkflowNote, stacklevel=3)
