"""Serving methods to workflows.

    from gleitzeit import provider

    @provider.method("math/add")
    def add(a: float, b: float) -> float:
        return a + b

    provider.serve()
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import inspect
import logging
import os
import secrets
import sys
import threading
import time
import uuid
from typing import Any, Callable, Optional, TypeVar, Union

from . import _json, _tls, _token, schema
from ._line import Line
from ._requests import DEFAULT_URL, base_url
from ._signals import handled
from ._threads import Threads

Function = TypeVar("Function", bound=Callable[..., Any])
log = logging.getLogger("gleitzeit.provider")

#: How many seconds answers are kept after they were sent: a hub that dies may lose them.
KEPT = 20.0
#: A process that was suspended for more seconds than this may have lost its calls to other providers.
STOOD_STILL = 2.0
MOST_KEPT = 1_000
#: How many methods a log line names.
NAMED = 8
#: The code of errors without a code of their own.
TASK_EXECUTION_FAILED = -29002
TASK_RESULT_INVALID = -29007
INVALID_PARAMS = -32602


class Failed(Exception):
    """Raised by a method to report how it failed, and whether another attempt may help."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after: Optional[float] = None,
        code: int = TASK_EXECUTION_FAILED,
    ) -> None:
        super().__init__(message)
        self.retryable, self.retry_after, self.code = retryable, retry_after, code


class Call:
    """The call that is being served, for code that needs its details; see ``current``."""

    def __init__(self, provider: Provider, body: dict[str, Any]) -> None:
        meta = body.get("meta") or {}
        self.id: str = body["id"]
        self.method: str = body["method"]
        self.run_id: str = meta.get("run_id", "")
        self.task_id: str = meta.get("task_id", "")
        #: The number of the attempt, from 1. Run, task and attempt together identify the call.
        self.attempt: int = meta.get("attempt", 0)
        #: The trace context of the caller's span, for code that creates spans below it.
        self.traceparent: str = meta.get("traceparent", "")
        self._provider, self._cancelled = provider, threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether the answer is no longer wanted. Functions in threads must check this; coroutines are cancelled."""
        return self._cancelled.is_set()

    def wait_cancelled(self, seconds: float) -> bool:
        """Sleeps until the time is over or the call is cancelled; returns whether it was cancelled."""
        return self._cancelled.wait(seconds)

    def progress(self, data: Any) -> None:
        """Reports progress to watchers of the run: any JSON value; ``{"text": ...}`` is shown as text. It may be lost.

        A value that JSON cannot hold (``nan``, for example) is logged and not sent.
        """
        try:
            _json.dumps(data)
        except (TypeError, ValueError) as problem:
            log.warning("progress of %s cannot be written as JSON: %s", self.method, problem)
            return
        self._provider._say_soon("method_progress", {"id": self.id, "data": data})


_current: contextvars.ContextVar[Call] = contextvars.ContextVar("gleitzeit_call")


def current() -> Call:
    """The call that the calling code is serving."""
    return _current.get()


class Provider:
    """Methods, and the connection over which they are served. It reconnects whenever the control plane comes back."""

    def __init__(
        self,
        name: Optional[str] = None,
        *,
        version: str = "v1",
        max_concurrency: int = 16,
        address: Optional[str] = None,
    ) -> None:
        """Tasks may ask for the provider by its ``name``. ``address`` is the service that the methods call, without
        credentials: lists show it, and if providers of a method call different services, workflows must name one.
        """
        self.name, self.version, self.max_concurrency, self.address = name, version, max_concurrency, address
        self._methods: dict[str, Callable[..., Any]] = {}
        self._schemas: dict[str, dict[str, schema.Schema]] = {}
        self._component_id = str(uuid.uuid4())
        # Proves the id, so that no other component can claim it.
        self._secret = secrets.token_hex(16)
        self._tasks: dict[str, tuple[Call, asyncio.Task[None]]] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._sent: dict[str, tuple[float, dict[str, Any]]] = {}
        self._is_registered = self._is_draining = False
        self._unanswered = 0
        # Whether the control plane must be asked which calls are still wanted.
        self._asks = False
        self._seen = _now()
        self._wanted: Optional[asyncio.Event] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._rejected: Optional[str] = None
        # Whether to end, and whether to abort open calls instead of finishing them.
        self._ended: Optional[asyncio.Event] = None
        self._hurried: Optional[asyncio.Event] = None
        # Whether the program does nothing but serve, and whether that was announced.
        self._is_program = self._was_told = False
        self._threads = Threads(max_concurrency, "gleitzeit-call")

    def method(self, name: str) -> Callable[[Function], Function]:
        """Serves a function, or a coroutine function, as the method ``PROTOCOL/METHOD``.

        Its type hints become the method's schema. Changed type hints need a new ``version`` of the provider.
        """
        protocol, slash, rest = name.partition("/")
        if not protocol or not slash or not rest:
            raise ValueError(f"`{name}` cannot be a method's name; expected PROTOCOL/METHOD, such as `math/add`")

        def add(function: Function) -> Function:
            self._schemas.setdefault(protocol, {})[name] = schema.of_method(function)
            self._methods[name] = function
            return function

        return add

    def serve(
        self,
        url: Optional[str] = None,
        *,
        token: Optional[str] = None,
        token_file: Union[None, str, os.PathLike[str]] = None,
        ca: Optional[str] = None,
        drain_timeout: float = 30.0,
    ) -> None:
        """Serves until SIGTERM or Ctrl-C, then finishes open calls, for at most ``drain_timeout`` seconds; a second
        signal ends it at once. A line announces the methods and the address, through the logger ``gleitzeit.provider``
        if the program has set up logging, otherwise on standard error. ``ca`` is a file with the root of a private
        authority, for ``https`` (``GLEITZEIT_CA``)."""
        serving = self.serve_async(
            url, token=token, token_file=token_file, ca=ca, drain_timeout=drain_timeout, handle_signals=True
        )
        asyncio.run(serving)

    async def serve_async(
        self,
        url: Optional[str] = None,
        *,
        token: Optional[str] = None,
        token_file: Union[None, str, os.PathLike[str]] = None,
        ca: Optional[str] = None,
        drain_timeout: float = 30.0,
        handle_signals: bool = False,
    ) -> None:
        """Serves like ``serve``, for programs with asyncio: until it is cancelled or ``stop`` is called."""
        if not self._methods:
            raise ValueError("the provider serves no method: mark functions with `@provider.method(...)`")
        self._loop, self._ended, self._hurried = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._is_program, self._was_told = handle_signals, False
        self._seen, self._wanted = _now(), asyncio.Event()
        self._wanted.set()
        address = base_url(url or os.environ.get("GLEITZEIT_HUB_URL") or DEFAULT_URL)
        line = self._line = self._new_line(address, _token.source(token, token_file, address), ca)
        connecting = asyncio.ensure_future(line.run())
        ended = asyncio.ensure_future(self._ended.wait())
        beating = asyncio.ensure_future(self._beating())
        signals = contextlib.ExitStack()
        try:
            if handle_signals:
                signals.enter_context(handled(self._loop, lambda: self._signalled(drain_timeout)))
            await asyncio.wait({connecting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
            if self._rejected is None:
                await self._drain(drain_timeout)
        finally:
            for task in (connecting, ended, beating):
                task.cancel()
            for call, running in list(self._tasks.values()):
                call._cancelled.set()
                running.cancel()
            await line.close()
            signals.close()
        if self._rejected is not None:
            raise RuntimeError(f"the control plane refused the provider: {self._rejected}")

    def _new_line(self, address: str, token: _token.Source, ca: Optional[str]) -> Line:
        handlers = {
            "welcome": self._welcome,
            "component_registered": self._registered,
            "registration_rejected": self._was_rejected,
            "heartbeat": self._heartbeat,
            "execute_method": self._execute,
            "cancel_method": self._cancel,
            "mesh_error": self._mesh_error,
        }
        # Read for each connection: the control plane may have been started after this provider.
        return Line(address, lambda: token() or "", handlers, self._lost, _tls.named(ca))

    def stop(self) -> None:
        """Ends ``serve``: takes no new calls, finishes open ones. Must be called in the event loop's thread."""
        if self._ended is not None:
            self._ended.set()

    def _signalled(self, limit: float) -> None:
        if self._ended is not None and self._ended.is_set() and self._hurried is not None:
            self._hurried.set()
            return
        if self._tasks:
            self._say(f"finishing open calls ({len(self._tasks)}), for at most {limit:g} s; Ctrl-C again ends at once")
        self.stop()

    def _say(self, text: str) -> None:
        if self._is_program and not log.hasHandlers():
            print(text, file=sys.stderr, flush=True)
        else:
            log.info(text)

    async def _drain(self, limit: float) -> None:
        self._is_draining = True
        if self._unanswered:
            # The control plane takes one registration at a time, so this one waits for the pending answer.
            self._asks = True
        elif self._is_registered:
            await self._register()
        if self._tasks and self._hurried is not None:
            hurried = asyncio.ensure_future(self._hurried.wait())
            finishing = asyncio.ensure_future(asyncio.wait([task for _, task in self._tasks.values()]))
            await asyncio.wait({finishing, hurried}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for waiting in (finishing, hurried):
                waiting.cancel()
        # Answers given just now are sent before the disconnect.
        await self._flush()

    async def _beating(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._beat()
            await self._ask()

    def _beat(self) -> None:
        """Detects that the process was suspended: others may have its calls by now, and cancels may be unread."""
        before, self._seen = self._seen, _now()
        if max(now - then for now, then in zip(self._seen, before)) > STOOD_STILL and self._wanted is not None:
            log.info("the process was suspended; asking which calls are still wanted")
            self._asks = True
            self._wanted.clear()

    async def _ask(self) -> None:
        """Asks by a registration: cancels of calls that are not wanted arrive before its answer."""
        if self._asks and self._is_registered and self._unanswered == 0 and self._line.is_connected:
            self._asks = False
            await self._register()

    async def _register(self) -> None:
        self._unanswered += 1
        protocols = [
            {"name": name, "version": self.version, "methods": methods} for name, methods in self._schemas.items()
        ]
        offered = [] if self._is_registered else self._kept()
        await self._line.emit(
            "register_component",
            {
                "component_type": "provider",
                "component_id": self._component_id,
                "secret": self._secret,
                "name": self._shown_name(),
                "protocols": protocols,
                "max_concurrency": 0 if self._is_draining else self.max_concurrency,
                "batch": True,
                "calls": [*self._tasks, *self._answers, *offered],
                **({"address": self.address} if self.address else {}),
            },
        )

    def _shown_name(self) -> str:
        return self.name or os.path.basename(sys.argv[0] or "provider")

    def _kept(self) -> list[str]:
        """The answers that may still be lost."""
        oldest = time.monotonic() - KEPT
        for call_id in [it for it, (at, _) in self._sent.items() if at < oldest]:
            del self._sent[call_id]
        return list(self._sent)

    async def _welcome(self, _: Any = None) -> None:
        self._is_registered, self._unanswered = False, 0
        await self._register()

    async def _registered(self, _: Any) -> None:
        self._unanswered = max(0, self._unanswered - 1)
        if not self._is_registered:
            self._say(self._about())
            self._is_registered = self._was_told = True
            # The hub may not have received the answers of calls that it has not cancelled by now.
            self._answers.update({call_id: body for call_id, (_, body) in self._sent.items()})
            self._sent.clear()
        await self._ask()
        if self._unanswered == 0 and not self._asks and self._wanted is not None:
            self._wanted.set()
        await self._flush()

    async def _was_rejected(self, body: dict[str, Any]) -> None:
        error = body.get("error") or {}
        if error.get("name") == "COMPONENT_ID_TAKEN":
            # The control plane drops the connection, and may admit the next one.
            log.warning("the control plane refused the registration; trying again: %s", error.get("message"))
            return
        self._rejected = f"{error.get('name', '')}: {error.get('message', body)}"
        self.stop()

    def _about(self) -> str:
        if self._was_told:
            return f"the control plane at {self._line.url} is back"
        methods = list(self._methods)
        more = f" and {len(methods) - NAMED} more" if len(methods) > NAMED else ""
        return f"serving {', '.join(methods[:NAMED])}{more} at {self._line.url} as `{self._shown_name()}`"

    def _lost(self) -> None:
        self._is_registered = False

    async def _heartbeat(self, _: Any = None) -> None:
        await self._line.emit("heartbeat_response", {"load": len(self._tasks)})

    async def _mesh_error(self, body: Any) -> None:
        log.warning("the control plane refused something: %s", body)

    async def _execute(self, body: dict[str, Any]) -> None:
        for call in body.get("calls", [body]):
            if call["id"] in self._sent:
                # A repeated request means that the answer was lost, for example by an engine that restarted.
                _, self._answers[call["id"]] = self._sent.pop(call["id"])
            elif call["id"] not in self._tasks and call["id"] not in self._answers:
                started = Call(self, call)
                self._tasks[started.id] = (started, asyncio.ensure_future(self._serve(started, call)))
        await self._flush()

    async def _cancel(self, body: dict[str, Any]) -> None:
        call_id = body.get("id", "")
        self._answers.pop(call_id, None)
        self._sent.pop(call_id, None)
        if call_id in self._tasks:
            call, task = self._tasks.pop(call_id)
            call._cancelled.set()
            task.cancel()

    async def _serve(self, call: Call, body: dict[str, Any]) -> None:
        self._beat()
        if self._wanted is not None:
            await self._wanted.wait()
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call.id}
        try:
            answer["result"] = await self._work(call, body)
        except Exception as problem:  # whatever the method raises is its answer
            answer["error"] = _error(problem)
            if not isinstance(problem, Failed):
                log.warning("%s failed", call.method, exc_info=problem)
        if self._tasks.pop(call.id, None) is not None and not call.is_cancelled:
            self._answers[call.id] = answer
            await self._flush()

    async def _work(self, call: Call, body: dict[str, Any]) -> Any:
        function = self._methods.get(call.method)
        if function is None:
            raise Failed(f"this provider does not serve `{call.method}`", code=-32601)
        parameters = body.get("params") or {}
        try:
            inspect.signature(function).bind(**parameters)
        except TypeError as problem:
            raise Failed(f"`{call.method}`: {problem}", code=INVALID_PARAMS) from problem
        context = contextvars.copy_context()
        context.run(_current.set, call)
        if inspect.iscoroutinefunction(function):
            _current.set(call)
            result = await function(**parameters)
        else:
            work = functools.partial(context.run, function, **parameters)
            result = await self._threads.run(work)
        return _plain(result, call.method)

    async def _flush(self) -> None:
        if not self._is_registered or not self._line.is_connected:
            return
        for call_id, answer in list(self._answers.items()):
            del self._answers[call_id]
            self._sent[call_id] = (time.monotonic(), answer)
            await self._line.emit("method_result", answer)
        while len(self._sent) > MOST_KEPT:
            del self._sent[next(iter(self._sent))]

    def _say_soon(self, event: str, body: Any) -> None:
        async def say() -> None:
            if self._is_registered and self._line.is_connected:
                await self._line.emit(event, body)

        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(say(), self._loop)


def _now() -> tuple[float, float]:
    # The second clock continues while the machine sleeps.
    return time.monotonic(), time.time()


def _plain(result: Any, method: str) -> Any:
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = dataclasses.asdict(result)
    try:
        _json.dumps(result)
    except (TypeError, ValueError) as problem:
        message = f"the result of `{method}` cannot be written as JSON: {problem}"
        raise Failed(message, code=TASK_RESULT_INVALID) from problem
    return result


def _error(problem: Exception) -> dict[str, Any]:
    if not isinstance(problem, Failed):
        message = f"{type(problem).__name__}: {problem}"
        return {"code": TASK_EXECUTION_FAILED, "message": message}
    data: dict[str, Any] = {"retryable": problem.retryable}
    if problem.retry_after is not None:
        data["retry_after_ms"] = int(problem.retry_after * 1000)
    return {"code": problem.code, "message": str(problem), "data": data}


#: The provider that the functions of this module use.
default = Provider()
method = default.method
serve = default.serve
