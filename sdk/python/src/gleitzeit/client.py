"""The client for programs without asyncio."""

from __future__ import annotations

import datetime
import time
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, List, Mapping, Optional, Union

import grpc

from . import _requests as requests
from . import _reach, models
from ._requests import Settings, Source
from .errors import GleitzeitError, RunFailed, from_rpc
from .models import Event, Explanation, Run, Task
from .v1 import workflow_service_pb2 as pb
from .v1 import workflow_service_pb2_grpc


class Client:
    """A connection to a control plane, opened when it is needed; it reconnects by itself.

    ``url``, ``token`` and ``token_file`` default to ``GLEITZEIT_HUB_URL``, ``GLEITZEIT_TOKEN`` and
    ``GLEITZEIT_TOKEN_FILE``; without a token, that of this user's own control plane is used. The file is read again
    when it changes. ``ca`` is a file with the root of a private authority, for ``https`` (``GLEITZEIT_CA``). Times are
    in seconds. Every method raises ``GleitzeitError``. Threads may share a client.
    """

    def __init__(self, url: Optional[str] = None, *, token: Optional[str] = None, **settings: Any) -> None:
        self.settings = Settings.make(url, token, **settings)
        target, options = self.settings.target, self.settings.options
        self._was_reached = False
        if self.settings.is_secure:
            self._channel = grpc.secure_channel(target, self.settings.credentials, options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._workflows: Any = workflow_service_pb2_grpc.WorkflowServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def run(
        self, source: Source, inputs: Optional[Mapping[str, Any]] = None, *, check: bool = True, **more: Any
    ) -> Run:
        """Submits a workflow (a file's path, YAML text or a ``Workflow``) and waits for its end.

        With ``check`` a run that failed or was cancelled raises ``RunFailed``, which has the run.
        """
        run = self.wait(self.submit(source, inputs, **more).id)
        if check and run.status != "completed":
            raise RunFailed(run)
        return run

    def submit(
        self,
        source: Source,
        inputs: Optional[Mapping[str, Any]] = None,
        *,
        files: Optional[Mapping[str, Union[bytes, str]]] = None,
        labels: Optional[Mapping[str, str]] = None,
        request_id: Optional[str] = None,
    ) -> Run:
        """Submits a workflow; when this returns, the run is durable. The returned run has no tasks.

        Unless a request id is given, a random one is used, so that a repeat after a lost answer creates no second run.
        """
        request = requests.submit(source, inputs, files, labels, requests.request_id(request_id))
        answer = self._call(self._workflows.SubmitWorkflow, request)
        models.warn(answer.notes)
        return Run(answer.run_id, answer.correlation_id, "", models.run_status(answer.status))

    def validate(self, source: Source) -> tuple[str, ...]:
        """The problems of a workflow, each with its place; empty if it is valid.

        Parts that are allowed but probably not meant are warnings of the class :class:`WorkflowNote`, as in ``submit``.
        """
        whole = requests.submit(source, None, None, None, "")
        answer = self._call(
            self._workflows.ValidateWorkflow, pb.ValidateWorkflowRequest(yaml=whole.yaml, file_name=whole.file_name)
        )
        models.warn(answer.notes)
        return tuple(f"{it.line}:{it.column}: {it.message}" for it in answer.problems)

    def get(self, run_id: str, *, results: bool = True) -> Run:
        """A run as it is now."""
        return self._get(run_id, 0.0, results)

    def wait(self, run_id: str, timeout: Optional[float] = None, *, results: bool = True) -> Run:
        """Waits until a run has ended and returns it; after ``timeout`` seconds, returns it as it is then."""
        end = None if timeout is None else time.monotonic() + timeout
        away_since: Optional[float] = None
        while True:
            step = requests.SHORT_POLL if away_since is not None else requests.LONG_POLL
            left = step if end is None else max(0.0, min(step, end - time.monotonic()))
            try:
                run = self._get(run_id, left, results)
            except GleitzeitError as error:
                away_since = self._bear(error, away_since, self.settings.max_retries)
                continue
            away_since = None
            if run.is_final or left <= 0:
                return run

    def watch(
        self, run_id: str, from_seq: int = 1, *, progress: bool = False, so_far: bool = False
    ) -> Iterator[Event]:
        """A run's events as they happen, each once and in order, to its end. A broken stream is resumed.

        ``progress`` adds the progress of its tasks, which may be lost; ``event.output`` extracts output from it. With
        ``so_far`` the stream begins with the progress that the open attempts have reported before.
        """
        away_since: Optional[float] = None
        tries, is_first = 0, True
        while True:
            request = pb.WatchRunRequest(
                run_id=run_id,
                from_seq=from_seq,
                include_progress=progress or so_far,
                include_progress_so_far=so_far and is_first,
            )
            stream = self._workflows.WatchRun(request, metadata=self.settings.metadata)
            try:
                # The headers arrive once the watch is set up.
                stream.initial_metadata()
                away_since = None
                for message in stream:
                    tries, is_first, self._was_reached = 0, False, True
                    for event in map(models.event, message.events):
                        if event.seq:
                            from_seq = event.seq + 1
                        yield event
                    if message.HasField("run"):
                        return
                error = GleitzeitError("the stream of events was lost", unreachable=True)
            except grpc.RpcError as failed:
                error = from_rpc(failed, self.settings.url)
            finally:
                stream.cancel()
            away_since = self._bear(error, away_since, tries)
            tries += 1

    def tasks(
        self, run_id: str, *, results: bool = True, dependencies: bool = False, page_size: int = 0
    ) -> Iterator[Task]:
        """All tasks of a run, page by page, including results that ``get`` leaves out because they are large.

        With ``dependencies`` each task lists the tasks that it depends on.
        """
        token = ""
        while True:
            request = pb.ListTasksRequest(
                run_id=run_id,
                include_results=results,
                include_dependencies=dependencies,
                page_size=page_size,
                page_token=token,
            )
            page = self._call(self._workflows.ListTasks, request)
            yield from map(models.task, page.tasks)
            token = page.next_page_token
            if not token:
                return

    def list(
        self,
        *,
        status: Union[str, Iterable[str]] = "",
        name: str = "",
        labels: Optional[Mapping[str, str]] = None,
        since: Optional[datetime.datetime] = None,
        until: Optional[datetime.datetime] = None,
        limit: Optional[int] = None,
    ) -> Iterator[Run]:
        """Runs that satisfy every given condition, the newest first, page by page.

        ``since`` and ``until`` limit the time of submission: at that time or later, and before that time. Both must
        have a time zone.
        """
        token, left = "", limit
        while left is None or left > 0:
            request = requests.runs(status, name, labels, since, until, min(left or 100, 1_000), token)
            page = self._call(self._workflows.ListRuns, request)
            yield from map(models.run, page.runs)
            token = page.next_page_token
            left = None if left is None else left - len(page.runs)
            if not token:
                return

    def progress(self, run_id: str, tasks: Iterable[str] = ()) -> List[Event]:
        """The latest progress of each open attempt of a run, or of the given tasks."""
        request = pb.ReadProgressRequest(run_id=run_id, task_ids=tasks)
        events: List[Event] = self._call(self._read_progress, request)
        return events

    def explain(self, run_id: str, task: str = "") -> Explanation:
        """Explains why a run, or one of its tasks, has not ended."""
        request = pb.ExplainRunRequest(run_id=run_id, task_id=task)
        return models.explanation(self._call(self._workflows.ExplainRun, request))

    def cancel(self, run_id: str, reason: str = "", *, force: bool = False) -> str:
        """Requests the cancellation of a run; returns its status, which is `cancelled` once its attempts have stopped.
        ``force`` also ends a run that the control plane set aside because its entries cannot be replayed."""
        request = pb.CancelRunRequest(run_id=run_id, reason=reason, force=force)
        answer = self._call(self._workflows.CancelRun, request)
        return models.run_status(answer.status)

    def retry(self, run_id: str, *, all: bool = False, request_id: Optional[str] = None) -> Run:
        """Repeats a failed or cancelled run as a new one; completed tasks keep their results, unless ``all`` is set."""
        request = pb.RetryRunRequest(run_id=run_id, request_id=requests.request_id(request_id), all=all)
        answer = self._call(self._workflows.RetryRun, request)
        return Run(answer.run_id, answer.correlation_id, "", models.run_status(answer.status))

    def _get(self, run_id: str, wait: float, results: bool) -> Run:
        answer = self._call(self._workflows.GetRun, requests.get(run_id, wait, results), wait)
        return models.run(answer.run)

    def _read_progress(self, request: Any, *, timeout: float, metadata: Any) -> List[Event]:
        stream = self._workflows.ReadProgress(request, timeout=timeout, metadata=metadata)
        return [models.event(event) for message in stream for event in message.events]

    def _call(self, method: Callable[..., Any], request: Any, more_time: float = 0.0) -> Any:
        tries = 0
        while True:
            try:
                limit = self.settings.timeout + more_time
                answer = method(request, timeout=limit, metadata=self.settings.metadata)
                self._was_reached = True
                return answer
            except grpc.RpcError as failed:
                error = from_rpc(failed, self.settings.url)
            is_last = tries >= self.settings.max_retries
            if tries == 0 or is_last:
                error = self._explained(error)
            if is_last or not error.is_worth_repeating:
                raise error
            time.sleep(requests.delay(tries, error))
            tries += 1

    def _explained(self, error: GleitzeitError) -> GleitzeitError:
        """Explains the error if the control plane could not be reached, by probing the address."""
        return _reach.explained(error, self.settings.url, self._was_reached, self.settings.ca)

    def _bear(self, error: GleitzeitError, away_since: Optional[float], tries: int) -> float:
        """Waits before another try, or raises; returns since when the control plane has been away."""
        since = time.monotonic() if away_since is None else away_since
        if away_since is None:
            error = self._explained(error)
        if not error.is_worth_repeating or time.monotonic() - since > self.settings.patience:
            raise error
        time.sleep(requests.delay(tries, error))
        return since
