"""Threads for functions that must not stop the event loop.

They are daemon threads: a function that does not return cannot delay the exit, unlike one in a ``ThreadPoolExecutor``,
whose threads the interpreter joins.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any, Callable

Work = Callable[[], Any]


class Threads:
    """Runs at most ``most`` functions at once; further ones wait for their turn."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name, self._count = most, name, 0
        self._waiting: queue.SimpleQueue[tuple[Work, asyncio.AbstractEventLoop, asyncio.Future[Any]]] = queue.SimpleQueue()
        # Counts the idle threads.
        self._idle, self._lock = threading.Semaphore(0), threading.Lock()

    async def run(self, work: Work) -> Any:
        """Runs a function; returns or raises what it does. If the caller is cancelled, the function continues."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._waiting.put((work, loop, done))
        if not self._idle.acquire(blocking=False):
            self._grow()
        return await done

    def _grow(self) -> None:
        with self._lock:
            if self._count == self._most:
                return
            self._count += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._count}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            work, loop, done = self._waiting.get()
            if not done.cancelled():
                _work(work, loop, done)
            # Releases the references while the thread waits for more work.
            del work, loop, done
            self._idle.release()


def _work(work: Work, loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]) -> None:
    try:
        result, problem = work(), None
    except BaseException as raised:  # also what would end the thread, such as `sys.exit()`
        # Neither a future nor the loop accepts other exceptions.
        bearable = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
        result, problem = None, raised if bearable else RuntimeError(f"{type(raised).__name__}: {raised}")
    try:
        loop.call_soon_threadsafe(_settle, done, result, problem)
    except RuntimeError:
        pass  # the loop has ended, and nobody waits


def _settle(done: asyncio.Future[Any], result: Any, problem: Any) -> None:
    if done.done():
        return
    if problem is None:
        done.set_result(result)
    else:
        done.set_exception(problem)
