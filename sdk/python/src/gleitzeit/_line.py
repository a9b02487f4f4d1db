"""A provider's connection: it reconnects by itself, and the log says why it cannot connect."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, Callable, Mapping, Optional

import socketio

from . import _reach, _tls
from ._threads import Threads

log = logging.getLogger("gleitzeit.provider")

#: Seconds before another try; the delay doubles each time.
FIRST_DELAY, MAX_DELAY = 0.1, 2.0
#: Limits in seconds: for connecting, for the control plane to admit us after that, and for disconnecting.
CONNECT_LIMIT, ADMIT_LIMIT, GOODBYE_LIMIT = 10.0, 5.0, 2.0
#: For how many seconds a control plane may be away, as during a restart, before the reason is logged.
RESTART = 5.0


class Line:
    """Calls ``handlers`` with the control plane's events by name, and ``lost`` at the end of each connection."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        handlers: Mapping[str, Callable[..., Any]],
        lost: Callable[[], None],
        ca: Optional[str] = None,
    ) -> None:
        self.url, self._ca = url, ca
        # Made only once: there are some hundred roots to load.
        self._options = {"ssl": _tls.context(ca)} if url.startswith("https:") else {}
        self._token, self._handlers, self._lost = token, handlers, lost
        self._hub: Any = None
        self._lost_at: Optional[float] = None
        self._refusal: Optional[str] = None
        self._told: Optional[str] = None
        self._looking = Threads(1, "gleitzeit-look")

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._hub is not None and bool(self._hub.connected)

    async def emit(self, event: str, body: Any) -> None:
        """Sends an event. Without a connection it is lost: the next connection begins with a registration."""
        try:
            await self._hub.emit(event, body)
        except socketio.exceptions.SocketIOError:
            log.debug("%s was not sent: there is no connection", event)

    async def run(self) -> None:
        """Connects, and reconnects after each end, until it is cancelled."""
        delay = FIRST_DELAY
        while True:
            reason, begun = await self._connect(), time.monotonic()
            if reason is None:
                self._told = None
                await self._end_of_connection()
                self._lost_at = time.monotonic()
                self._lost()
                log.warning("lost the control plane at %s; trying again", self.url)
            else:
                await self._tell(reason)
            await self._drop()
            # A connection that breaks at once does not reset the delay.
            if reason is None and time.monotonic() - begun >= MAX_DELAY:
                delay = FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, MAX_DELAY)

    async def close(self) -> None:
        """Sends what is queued, then disconnects."""
        if self.is_connected:
            try:
                await asyncio.wait_for(self._hub.eio.queue.join(), GOODBYE_LIMIT)
            except asyncio.TimeoutError:
                log.debug("the last messages were not acknowledged")
        await self._drop()

    async def _connect(self) -> Optional[str]:
        """Connects; returns why that failed, or ``None``."""
        self._refusal = None
        # A new client for each connection, so that no state is left. Signals belong to the program.
        hub = self._hub = socketio.AsyncClient(
            reconnection=False, handle_sigint=False, websocket_extra_options=dict(self._options)
        )
        hub.on("connect", lambda: None)
        hub.on("connect_error", self._refused)
        for event, handler in self._handlers.items():
            hub.on(event, handler)
        auth = {"token": self._token()}
        try:
            connecting = hub.connect(self.url, auth=auth, transports=["websocket"], wait_timeout=ADMIT_LIMIT)
            await asyncio.wait_for(connecting, CONNECT_LIMIT)
        except asyncio.TimeoutError:
            return f"no answer within {CONNECT_LIMIT:g} s"
        except Exception as problem:  # the libraries pass on any exception that an unknown server causes
            return _reach.innermost(problem)
        return None

    def _refused(self, body: Any = None) -> None:
        if isinstance(body, dict):
            self._refusal = _reach.shown(str(body.get("message") or body), _reach.SHOWN_REFUSAL)

    async def _end_of_connection(self) -> None:
        reading = self._hub.eio.read_loop_task
        if reading is not None:
            await asyncio.wait({reading})

    async def _drop(self) -> None:
        if self._hub is None:
            return
        try:
            await asyncio.wait_for(self._hub.disconnect(), GOODBYE_LIMIT)
        except Exception as problem:  # it is of no use any more, whatever is wrong with it
            log.debug("the disconnect was not acknowledged: %r", problem)

    async def _tell(self, reason: str) -> None:
        """Logs why there is no connection, once for each different reason."""
        if self._refusal is not None:
            text = f"the control plane at {self.url} refuses this provider: {self._refusal}"
            self._say(logging.ERROR, text)
            return
        found = await self._looking.run(lambda: _reach.look(self.url, "WebSocket", reason, self._ca))
        cause = _reach.cause(self.url, found, reason, "WebSocket")
        is_restart = self._lost_at is not None and time.monotonic() - self._lost_at < RESTART
        if not (cause.may_pass and is_restart):
            self._say(logging.WARNING, f"{cause.message}; {cause.hint}")

    def _say(self, level: int, text: str) -> None:
        if text != self._told:
            self._told = text
            log.log(level, "%s; trying again", text)
