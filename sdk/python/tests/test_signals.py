from __future__ import annotations

import asyncio
import pathlib
import signal
from typing import Any, Callable

import pytest
from conftest import Plane, running, until
from test_provider import PROGRAM

from gleitzeit._signals import handled


class LoopOfWindows(asyncio.SelectorEventLoop):
    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        raise NotImplementedError

    def remove_signal_handler(self, sig: int) -> bool:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, LoopOfWindows])
def test_signals_are_handled_in_the_loop_and_restored(kind: Callable[[], asyncio.AbstractEventLoop]) -> None:
    def own(*_: object) -> None:
        raise AssertionError("it must not be called")

    found = {number: signal.signal(number, own) for number in (signal.SIGTERM, signal.SIGINT)}

    async def scenario(loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            told = asyncio.Event()
            with handled(loop, told.set):
                signal.raise_signal(number)
                await asyncio.wait_for(told.wait(), 20)

    loop = kind()
    try:
        loop.run_until_complete(scenario(loop))
        assert [signal.getsignal(number) for number in found] == [own, own]
    finally:
        loop.close()
        for number, before in found.items():
            signal.signal(number, before)


def test_a_provider_works_if_the_loop_cannot_watch_signals(
    own_plane: Plane, tmp_path: pathlib.Path
) -> None:
    refuses = """
import asyncio
def refuse(*_):
    raise NotImplementedError
asyncio.SelectorEventLoop.add_signal_handler = asyncio.SelectorEventLoop.remove_signal_handler = refuse
"""
    with running(own_plane, refuses + PROGRAM, tmp_path) as program:
        until("it serves", lambda: len(program.said) > 0)
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(20) == 0
    assert len(program.said) == 1 and program.said[0].startswith("serving lab/slow"), program.said
