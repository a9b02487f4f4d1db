"""A real control plane for the tests, from the binary that `GLEITZEIT_BIN` names."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from typing import Callable, Iterator

import pytest

from gleitzeit import Client

ROOT = pathlib.Path(__file__).parent.parent
PATIENCE = 60.0


def until(what: str, look: Callable[[], object], limit: float = PATIENCE) -> None:
    """Looks at a condition until it holds."""
    end = time.monotonic() + limit
    while not look():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.02)


class Plane:
    """Control plane and worker in one process, which may be killed and started again."""

    def __init__(self, folder: pathlib.Path, *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.folder = f"http://127.0.0.1:{self.port}", folder
        self.more = more or ("--no-auth",)
        self.start()

    def start(self) -> None:
        """Returns once it is ready."""
        binary = os.environ.get("GLEITZEIT_BIN") or str(ROOT.parent.parent / "target" / "debug" / "gleitzeit")
        store = f"sqlite:{self.folder / 'journal.db'}"
        self.process = subprocess.Popen(
            [binary, "start", "--port", str(self.port), "--store", store, *self.more],
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready at ")

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()

    def program(self, *arguments: str, folder: pathlib.Path = ROOT, **more: str) -> subprocess.Popen[str]:
        """A Python program that finds this control plane in its environment."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GLEITZEIT_HUB_URL": self.url, **more}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=folder, text=True, **streams)  # type: ignore[call-overload, no-any-return]


class Running:
    """A program, and the lines that it has written to standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.said = process, list[str]()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(iter(self.process.stderr.readline, ""))


@contextlib.contextmanager
def running(plane: Plane, text: str, folder: pathlib.Path, **environment: str) -> Iterator[Running]:
    """A Python program of this text, for as long."""
    file = folder / "program.py"
    file.write_text(text)
    program = Running(plane.program(str(file), folder=folder, **environment))
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()
        program.reader.join(PATIENCE)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    plane = Plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


@pytest.fixture
def own_plane(tmp_path: pathlib.Path) -> Iterator[Plane]:
    """For tests that kill it."""
    plane = Plane(tmp_path)
    yield plane
    plane.stop()


@pytest.fixture
def client(plane: Plane) -> Iterator[Client]:
    with Client(plane.url) as client:
        yield client
