"""Builds requests and decides when they are repeated. Does no I/O except reading the files of a workflow."""

from __future__ import annotations

import datetime
import os
import pathlib
import random
import stat
import uuid
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional, Union

import grpc
import yaml

from . import _json, _reach, _tls, _token
from .errors import GleitzeitError
from .v1 import run_pb2, workflow_service_pb2 as pb
from .workflow import Workflow

Source = Union[str, "os.PathLike[str]", Workflow]

FIRST_DELAY = 0.1
MAX_DELAY = 2.0
#: The longest delay that a control plane may ask for, in seconds.
MAX_ASKED = 30.0
#: How long one long poll stays open, in seconds; the second after the control plane could not be reached.
LONG_POLL, SHORT_POLL = 30.0, 1.0
#: Answers stay below 4 MiB, except a single large result.
MAX_ANSWER_BYTES = 32 << 20
#: How long to wait for the first message of a control plane on a new connection.
FIRST_WORD_MS = 10_000
DEFAULT_URL = "http://localhost:8000"


def base_url(text: str) -> str:
    """Normalizes the address of a control plane: ``http://`` may be left out, and slashes may follow."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "http", scheme
    host = rest.rstrip("/")
    name, colon, port = host.rpartition(":") if host.rpartition("]")[2].count(":") else (host, "", "")
    has_port = not colon or (port.isdecimal() and int(port) < 65_536)
    if scheme not in ("http", "https") or not name or not has_port or set("/?#") & set(host):
        raise invalid(f"`{text}` is not an address of a control plane; expected one such as {DEFAULT_URL}")
    return f"{scheme}://{host}"


@dataclass(frozen=True)
class Settings:
    """The settings of a client; times are in seconds."""

    #: The control plane's address, such as ``http://localhost:8000``.
    url: str
    #: Returns the token; called for each call.
    token: _token.Source = field(default=lambda: None, repr=False, compare=False)
    #: A file (PEM) with the root of a private authority, trusted in addition to the others for an ``https`` address.
    ca: Optional[str] = None
    #: How long one call may take.
    timeout: float = 30.0
    #: How often a call that is safe to repeat is repeated.
    max_retries: int = 5
    #: How long ``wait`` and ``watch`` tolerate the control plane's absence.
    patience: float = 60.0
    #: The W3C trace context that submitted runs join: their spans become part of that trace.
    traceparent: Optional[str] = None

    @staticmethod
    def make(
        url: Optional[str],
        token: Optional[str],
        token_file: Union[None, str, os.PathLike[str]] = None,
        **more: Any,
    ) -> Settings:
        """Creates settings; the environment provides what is not given here."""
        url = url or os.environ.get("GLEITZEIT_HUB_URL") or DEFAULT_URL
        url = base_url(url)
        more.setdefault("traceparent", os.environ.get("TRACEPARENT") or None)
        more["ca"] = _tls.named(more.get("ca"))
        try:
            given = _token.source(token, token_file, url)
        except ValueError as error:
            raise invalid(str(error)) from None
        return Settings(url, given, **more)

    @property
    def target(self) -> str:
        """The target in the form that gRPC expects."""
        host = self.url.split("://", 1)[1]
        has_port = host.rsplit("]", 1)[-1].count(":") == 1
        return host if has_port else f"{host}:{443 if self.is_secure else 80}"

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("https://")

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of an encrypted connection."""
        return grpc.ssl_channel_credentials(_tls.roots(self.ca))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of each call."""
        token = self.token()
        given = (("authorization", token and f"Bearer {token}"), ("traceparent", self.traceparent))
        return tuple((name, value) for name, value in given if value)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The options of the channel."""
        return [
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            ("grpc.keepalive_time_ms", 10_000),
            # Unlimited: a watch of a run in which nothing happens has no other traffic.
            ("grpc.http2.max_pings_without_data", 0),
            # How long a new connection waits for the first message of the other side.
            ("grpc.min_reconnect_backoff_ms", FIRST_WORD_MS),
            # A proxy cannot reach this machine's own addresses for us.
            ("grpc.enable_http_proxy", int(not _reach.is_local(self.url))),
        ]


def delay(tries: int, error: GleitzeitError) -> float:
    """The delay before try number ``tries`` is repeated: doubling, randomized, at least what the server asked for."""
    own = min(FIRST_DELAY * 2.0 ** min(tries, 10), MAX_DELAY) * random.uniform(0.5, 1.0)
    return max(own, min(error.retry_after or 0.0, MAX_ASKED))


def invalid(message: str) -> GleitzeitError:
    """A mistake of the caller."""
    return GleitzeitError(message, code=-32602, name="INVALID_PARAMS")


def submit(
    source: Source,
    inputs: Optional[Mapping[str, Any]],
    files: Optional[Mapping[str, Union[bytes, str]]],
    labels: Optional[Mapping[str, str]],
    request_id: str,
) -> pb.SubmitWorkflowRequest:
    """A workflow with its inputs and files. Declared files that are not given are read from the workflow's folder."""
    if isinstance(source, Workflow):
        text, name, folder = str(source), "", pathlib.Path()
    elif isinstance(source, str) and "\n" in source:
        text, name, folder = source, "", pathlib.Path()
    else:
        path = pathlib.Path(source)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise invalid(f"the workflow `{path}` cannot be read: {error}") from error
        name, folder = str(path), path.parent
    contents = {key: value.encode() if isinstance(value, str) else value for key, value in (files or {}).items()}
    for key, declared in _declared_files(text).items():
        if key not in contents:
            try:
                contents[key] = _regular(folder / declared)
            except OSError as error:
                raise invalid(f"the file `{key}` of the workflow cannot be read: {error}") from error
    return pb.SubmitWorkflowRequest(
        request_id=request_id,
        yaml=text,
        inputs_json=as_json(inputs or {}, "the inputs"),
        files=contents,
        labels=dict(labels or {}),
        file_name=name,
    )


def request_id(chosen: Optional[str]) -> str:
    """The request id that was chosen, or a random one."""
    return chosen if chosen is not None else str(uuid.uuid4())


def as_json(value: Any, what: str) -> str:
    """The JSON text of a value that messages call ``what``."""
    try:
        return _json.dumps(value)
    except (TypeError, ValueError) as error:
        raise invalid(f"{what} cannot be written as JSON: {error}") from error


def _regular(path: pathlib.Path) -> bytes:
    """The bytes of a regular file. A workflow may come from others: no pipe is waited for, no environment is sent."""
    if str(path.resolve()).startswith(("/proc/", "/sys/")):
        raise OSError(f"`{path}` is not a file but a view into the running system")
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"`{path}` is no regular file")
        return file.read()


def _declared_files(text: str) -> dict[str, str]:
    # The control plane reports problems of the text, with their places.
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, dict):
        return {}
    return {str(name): path for name, path in files.items() if isinstance(path, str)}


def get(run_id: str, wait: float, results: bool) -> pb.GetRunRequest:
    """A request for a run, as it is now or once it is final."""
    request = pb.GetRunRequest(run_id=run_id, include_results=results)
    if wait > 0:
        request.wait.FromTimedelta(datetime.timedelta(seconds=wait))
    return request


def runs(
    status: Union[str, Iterable[str]],
    name: str,
    labels: Optional[Mapping[str, str]],
    since: Optional[datetime.datetime],
    until: Optional[datetime.datetime],
    limit: int,
    page_token: str,
) -> pb.ListRunsRequest:
    """A request for a page of runs."""
    if any(time is not None and time.tzinfo is None for time in (since, until)):
        raise invalid("`since` and `until` need a time zone, such as `datetime.timezone.utc`")
    wanted = [status] if isinstance(status, str) else list(status)
    known = {value.split("_")[-1].lower(): value for value in run_pb2.RunStatus.keys()}
    unknown = [word for word in wanted if word and word not in known]
    if unknown:
        raise invalid(f"`{unknown[0]}` is not a status of a run; expected running, completed, failed or cancelled")
    statuses = [known[word] for word in wanted if word]
    request = pb.ListRunsRequest(
        statuses=statuses, name=name, labels=dict(labels or {}), page_size=limit, page_token=page_token
    )
    if since is not None:
        request.submitted_after.FromDatetime(since)
    if until is not None:
        request.submitted_before.FromDatetime(until)
    return request
