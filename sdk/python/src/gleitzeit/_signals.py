"""Handles signals in a program with an event loop, also where asyncio cannot watch them (Windows)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any, Callable, Iterator, List

#: Signals that ask a program to end: from a service manager, by Ctrl-C, and on Windows by Ctrl-Break.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))


@contextlib.contextmanager
def handled(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> Iterator[None]:
    """Calls ``act`` in the loop at each signal that asks the program to end; restores the previous handlers on exit.

    Python allows this only in the main thread.
    """
    restore: List[Callable[[], Any]] = []

    def watch(number: int) -> None:
        before = signal.getsignal(number)
        # A handler that was not set from Python cannot be restored.
        restore.append(lambda: signal.signal(number, signal.SIG_DFL if before is None else before))
        try:
            loop.add_signal_handler(number, act)
            restore.append(lambda: loop.remove_signal_handler(number))
        except NotImplementedError:
            # The interpreter calls this between any two instructions of this thread, so the loop calls `act` later.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))

    try:
        for number in ENDING:
            watch(number)
        yield
    finally:
        for undo in reversed(restore):
            undo()
