"""A control plane of the tests' own: a real one, from the binary that `GLEITZEIT_BIN` names."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
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

    def program(self, *arguments: str, folder: pathlib.Path = ROOT) -> subprocess.Popen[str]:
        """A Python program that finds this control plane in its environment."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GLEITZEIT_HUB_URL": self.url}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=folder, text=True, **streams)  # type: ignore[call-overload, no-any-return]


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
