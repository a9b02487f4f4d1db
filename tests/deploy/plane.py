"""A control plane and agents as processes, with a token from a file."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from conftest import clean_environment, program

# What a client is told while a control plane is restarted.
AWAY = ("CONNECTION_REFUSED", "CONNECTION_LOST", "CONNECTION_TIMEOUT", "SYSTEM_SHUTDOWN")


def until(what: str, found: Callable[[], bool], patience: float = 120) -> None:
    """Waits until something holds; fails with its name after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not found():
        assert time.monotonic() < deadline, f"{what}: not within {patience} s"
        time.sleep(0.05)


class Plane:
    """Everything that it starts ends with the `with` that it is used in."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.token = folder / "token"
        self.token.write_text("a-token-for-this-test")
        self.environment = clean_environment() | {"XDG_STATE_HOME": str(folder), "XDG_DATA_HOME": str(folder)} | variables
        self.url = ""
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> "Plane":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, *words: str) -> subprocess.Popen[str]:
        command = [program(), *words, "--token-file", self.token]
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True)
        self.processes[name] = process
        return process

    def start_hub(self, *options: str) -> None:
        """At a port that the system chooses, and at the same one when it is started again."""
        port = self.url.rpartition(":")[2] or "0"
        process = self._start("hub", "hub", "--port", port, "--store", f"sqlite:{self.folder}/journal.db", *options)
        assert process.stdout
        said = process.stdout.readline()
        assert said.startswith("ready at "), (self.folder / "hub.log").read_text()
        self.url = said.removeprefix("ready at ").strip()

    def start_agent(self, name: str, roles: str) -> None:
        self._start(name, "agent", "--name", name, "--role", roles, "--hub-url", self.url)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> None:
        """As an update does it: SIGTERM, and the time that it takes."""
        process = self.processes.pop(name)
        process.terminate()
        assert process.wait(timeout=60) == 0, (self.folder / f"{name}.log").read_text()[-2000:]

    def ask(self, *words: str) -> Any:
        command = [program(), *words, "--json", "--hub-url", self.url, "--token-file", self.token]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def submit(self, name: str, tasks: list[dict[str, Any]], request_id: str | None = None) -> str:
        """With a request id it is repeated while nobody is there, as a program of a user's would do it."""
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps({"name": name, "tasks": tasks}))
        words = ["submit", str(file), *(["--request-id", request_id] if request_id else [])]
        found = self.ask(*words)
        deadline = time.monotonic() + 60
        while request_id and "run_id" not in found and time.monotonic() < deadline:
            assert found["errors"][0]["name"] in AWAY, found
            found = self.ask(*words)
        assert "run_id" in found, found
        return str(found["run_id"])

    def run(self, run: str) -> Any:
        return self.ask("status", run)

    def metrics(self) -> str:
        request = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.token.read_text()}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())
