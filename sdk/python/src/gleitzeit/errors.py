"""Errors. Decide by ``code``, ``name`` and the attributes beside them, never by the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from .models import Run

DOMAIN = "gleitzeit"
_PLACE = re.compile(r"^(\d+):(\d+): (.*)$", re.DOTALL)
_ON_THE_WAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# gRPC's wording for an answer that is not gRPC: a proxy's, or a refusal before any service.
_OF_HTTP = "Received http2 header with status"
_AWAY = {"SYSTEM_SHUTDOWN", "SYSTEM_NOT_INITIALIZED"}
# For answers that do not identify their sender.
_UNNAMED = {
    grpc.StatusCode.INVALID_ARGUMENT: (-32602, "INVALID_PARAMS"),
    grpc.StatusCode.NOT_FOUND: (-28002, "WORKFLOW_NOT_FOUND"),
    grpc.StatusCode.UNAUTHENTICATED: (-25005, "AUTHENTICATION_FAILED"),
    grpc.StatusCode.PERMISSION_DENIED: (-25006, "AUTHORIZATION_FAILED"),
    grpc.StatusCode.UNIMPLEMENTED: (-30008, "METHOD_NOT_SUPPORTED"),
}


@dataclass(frozen=True)
class Problem:
    """One problem of a workflow, its inputs or its files."""

    message: str
    field: str = ""
    name: str = ""
    line: Optional[int] = None
    column: Optional[int] = None

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}: " if self.line is not None else ""
        return f"{place}{self.message}"


class GleitzeitError(Exception):
    """A call that did not succeed."""

    def __init__(
        self,
        message: str,
        *,
        code: int = -32603,
        name: str = "INTERNAL_ERROR",
        problems: tuple[Problem, ...] = (),
        retry_after: Optional[float] = None,
        unreachable: bool = False,
        lasting: bool = False,
        hint: str = "",
        reason: str = "",
    ) -> None:
        advice = [f"hint: {hint}"] if hint else []
        super().__init__("\n  ".join([message, *map(str, problems), *advice]))
        #: What happened, with the names involved.
        self.message = message
        #: The stable number from the error table.
        self.code = code
        #: The code's name, such as ``WORKFLOW_NOT_FOUND``.
        self.name = name
        #: All problems of the workflow, if the error is about those.
        self.problems = problems
        #: How many seconds the control plane asks the client to wait before the next try.
        self.retry_after = retry_after
        #: Whether no control plane answered.
        self.unreachable = unreachable
        #: Advice that goes beyond the error table; empty if there is none.
        self.hint = hint
        # Why a call did not get through, in gRPC's words.
        self._reason = reason or message
        # Whether the call waited long enough already, or waiting does not help.
        self._is_lasting = lasting

    @property
    def is_worth_repeating(self) -> bool:
        """Whether the same call may succeed if it is repeated soon."""
        return (self.unreachable and not self._is_lasting) or self.retry_after is not None


class RunFailed(GleitzeitError):
    """The run that was waited for failed or was cancelled; ``run`` is that run."""

    def __init__(self, run: Run) -> None:
        error = run.error
        message = f"run {run.id} {run.status}" + (f": {error.message}" if error else "")
        super().__init__(message, code=error.code if error else -28003, name=error.name if error else "WORKFLOW_EXECUTION_FAILED")
        self.run = run


def unreached(
    error: GleitzeitError, message: str, code: int, name: str, hint: str, lasting: bool
) -> GleitzeitError:
    """An error with the explanation why the control plane was not reached."""
    reason = error._reason
    return GleitzeitError(message, code=code, name=name, unreachable=True, hint=hint, lasting=lasting, reason=reason)


def from_rpc(error: Any, url: str) -> GleitzeitError:
    """Converts a failed gRPC call to an error."""
    status, code = rpc_status.from_call(error), error.code()
    info, problems, retry_after = None, [], None
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            found = error_details_pb2.ErrorInfo()
            detail.Unpack(found)
            info = found if found.domain == DOMAIN else None
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            problems = [_problem(violation) for violation in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    message = error.details() or code.name.lower()
    if info is not None:
        number = int(info.metadata.get("code", "-32603"))
        away = info.reason in _AWAY
        return GleitzeitError(
            message, code=number, name=info.reason, problems=tuple(problems), retry_after=retry_after, unreachable=away
        )
    if code in _ON_THE_WAY or message.startswith(_OF_HTTP):
        # There is a connection, but its other side has sent nothing within the limit.
        is_silent = "before receiving SETTINGS frame" in message
        timed_out = code == grpc.StatusCode.DEADLINE_EXCEEDED or is_silent
        number, name = (-25003, "CONNECTION_TIMEOUT") if timed_out else (-25004, "CONNECTION_LOST")
        text = f"the control plane at {url} does not answer: {message}"
        return GleitzeitError(text, code=number, name=name, unreachable=True, lasting=timed_out, reason=message)
    number, name = _UNNAMED.get(code, (-32603, "INTERNAL_ERROR"))
    if code == grpc.StatusCode.UNIMPLEMENTED:
        text = f"the server at {url} does not support this call: {message}"
        hint = "the control plane has another version than this package, or another server answers; check with `gleitzeit doctor`"
        return GleitzeitError(text, code=number, name=name, hint=hint)
    return GleitzeitError(message, code=number, name=name, retry_after=retry_after)


def _problem(violation: Any) -> Problem:
    placed = _PLACE.match(violation.description)
    if placed is None:
        return Problem(violation.description, violation.field, violation.reason)
    line, column, message = placed.groups()
    return Problem(message, violation.field, violation.reason, int(line), int(column))
