from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import signal
import sys
import threading
from typing import Any, Dict, List, Literal, Optional

import grpc.aio
import pytest
import socketio
from conftest import ROOT, Plane, running, until

from gleitzeit import Client, GleitzeitError, provider, schema
from gleitzeit._threads import Threads
from gleitzeit.v1.system_service_pb2 import ListProvidersRequest
from gleitzeit.v1.system_service_pb2_grpc import SystemServiceStub

PROGRAM = """
import asyncio, sys, time
from gleitzeit import provider

@provider.method("lab/slow")
def slow(seconds: float = 600.0, file: str = "") -> str:
    call = provider.current()
    call.progress({"text": f"attempt {call.attempt} of {call.task_id}"})
    open(file, "w").write("began")
    if call.wait_cancelled(seconds):
        open(file, "w").write("cancelled")
    return "slept"

@provider.method("lab/aslow")
async def aslow(seconds: float = 600.0, file: str = "") -> str:
    open(file, "w").write("began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        open(file, "w").write("cancelled")
        raise
    return "slept"

@provider.method("lab/flaky")
def flaky() -> int:
    if provider.current().attempt < 3:
        raise provider.Failed("not yet", retryable=True, retry_after=0.01)
    return provider.current().attempt

@provider.method("lab/broken")
def broken() -> float:
    raise ValueError("it is broken")

provider.serve()
"""


def workflow(method: str, **parameters: Any) -> str:
    import json

    task = {"id": "t", "method": method, "parameters": parameters, "retry": {"max_attempts": 3, "initial_delay": 0.01}}
    return json.dumps({"name": "Lab", "tasks": [task]}) + "\n"


def serves(client: Client, method: str) -> bool:
    # Until a provider has brought it, the method is unknown.
    return client.validate(workflow(method)) == ()


@pytest.fixture
def lab(own_plane: Plane, tmp_path: pathlib.Path) -> Any:
    file = tmp_path / "lab.py"
    file.write_text(PROGRAM)
    program = own_plane.program(str(file))
    try:
        with Client(own_plane.url, max_retries=50) as client:
            until("it is registered", lambda: serves(client, "lab/flaky"))
            yield own_plane, client, program
    finally:
        program.kill()
        program.communicate()


def test_methods_are_served_retried_cancelled_and_drained(lab: Any, tmp_path: pathlib.Path) -> None:
    plane, client, program = lab
    assert client.run(workflow("lab/flaky"))["t"] == 3
    failed = client.run(workflow("lab/broken"), check=False).tasks["t"].error
    assert failed is not None and "ValueError: it is broken" in failed.message
    with pytest.raises(GleitzeitError, match="speed"):
        client.submit(workflow("lab/slow", speed=1))
    for method in ("lab/slow", "lab/aslow"):
        file = tmp_path / method.replace("/", "-")
        run = client.submit(workflow(method, file=str(file)))
        until("it began", lambda: file.exists() and file.read_text() == "began")
        client.cancel(run.id)
        until("it was cancelled", lambda: file.read_text() == "cancelled")
        assert client.wait(run.id).status == "cancelled"
    # Calls that are open at the stop are finished.
    file = tmp_path / "last"
    run = client.submit(workflow("lab/slow", seconds=1.0, file=str(file)))
    until("it began", lambda: file.exists() and file.read_text() == "began")
    program.send_signal(signal.SIGTERM)
    assert program.wait(60) == 0
    ended = client.wait(run.id)
    assert (ended.status, ended.tasks["t"].attempt) == ("completed", 1)


def test_ctrl_c_finishes_open_calls_and_a_second_one_ends_at_once(own_plane: Plane, tmp_path: pathlib.Path) -> None:
    def call(client: Client, seconds: float) -> Any:
        file = tmp_path / f"call-{seconds}"
        run = client.submit(workflow("lab/slow", seconds=seconds, file=str(file)))
        until("it began", lambda: file.exists() and file.read_text() == "began")
        return run

    methods = "lab/slow, lab/aslow, lab/flaky, lab/broken"
    with Client(own_plane.url, max_retries=50) as client:
        for seconds, interrupts in ((1.0, 1), (600.0, 2)):
            with running(own_plane, PROGRAM.replace("call.wait_cancelled(seconds)", "time.sleep(seconds)"), tmp_path) as program:
                line = f"serving {methods} at {own_plane.url} as `program.py`\n"
                until("it says what it serves, and where", lambda: line in program.said)
                run = call(client, seconds)
                for number in range(1, interrupts + 1):
                    program.process.send_signal(signal.SIGINT)
                    until("the signal is handled", lambda: any("finishing open calls (1)" in it for it in program.said))
                # A function in a thread does not delay the stop.
                assert program.process.wait(20) == 0
            assert not any("Traceback" in it for it in program.said), program.said
            if interrupts == 1:
                ended = client.wait(run.id)
                assert (ended.status, ended.tasks["t"].attempt) == ("completed", 1)
            else:
                client.cancel(run.id)


def test_an_idle_provider_ends_silently_at_ctrl_c(own_plane: Plane, tmp_path: pathlib.Path) -> None:
    with running(own_plane, PROGRAM, tmp_path) as program:
        until("it serves", lambda: len(program.said) > 0)
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(20) == 0
    assert len(program.said) == 1, program.said


def test_functions_run_in_a_bounded_number_of_reused_threads() -> None:
    async def scenario() -> None:
        threads, gate, names = Threads(2, "few"), threading.Event(), []

        def work(number: int) -> int:
            names.append(threading.current_thread().name)
            assert gate.wait(60)
            return number

        waiting = [asyncio.ensure_future(threads.run(lambda number=number: work(number))) for number in range(6)]  # type: ignore[misc]
        while len(names) < 2:
            await asyncio.sleep(0.01)
        waiting[5].cancel()
        gate.set()
        ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
        assert ended[:5] == [0, 1, 2, 3, 4] and isinstance(ended[5], asyncio.CancelledError)
        assert len(names) == 5 and set(names) == {"few-1", "few-2"}
        with pytest.raises(ValueError, match="no"):
            await threads.run(lambda: int("no"))
        with pytest.raises(RuntimeError, match="SystemExit: 3"):
            await threads.run(lambda: sys.exit(3))

    asyncio.run(scenario())


def test_no_call_is_lost_when_the_control_plane_crashes(lab: Any, tmp_path: pathlib.Path) -> None:
    plane, client, _ = lab
    file = tmp_path / "call"
    run = client.submit(workflow("lab/slow", seconds=1.5, file=str(file)))
    until("it began", lambda: file.exists() and file.read_text() == "began")
    plane.kill()
    plane.start()
    ended = client.wait(run.id)
    assert ended.status == "completed" and ended["t"] == "slept"


def test_calls_lost_while_the_process_was_stopped_do_not_begin(tmp_path: pathlib.Path) -> None:
    plane = Plane(tmp_path, "--no-auth", "--heartbeat-interval", "1s", "--provider-patience", "1s")
    program_file, file = tmp_path / "lab.py", tmp_path / "call"
    program_file.write_text(PROGRAM)
    program = plane.program(str(program_file))
    try:
        with Client(plane.url, max_retries=50) as client:
            until("it is registered", lambda: serves(client, "lab/flaky"))
            assert client.run(workflow("lab/flaky"))["t"] == 3
            program.send_signal(signal.SIGSTOP)
            run = client.submit(workflow("lab/slow", file=str(file)))
            until("it is given to the provider", lambda: client.get(run.id).tasks["t"].status == "running")
            until("it is taken from it", lambda: client.get(run.id).tasks["t"].status != "running")
            client.cancel(run.id)
            assert client.wait(run.id).status == "cancelled"
            program.send_signal(signal.SIGCONT)
            # It is of use again, and what lay in its socket is behind it.
            assert client.run(workflow("lab/flaky"))["t"] == 3
            assert not file.exists()
    finally:
        program.kill()
        program.communicate()
        plane.stop()


def test_a_provider_cannot_be_replaced_and_returns_after_a_broken_connection(own_plane: Plane) -> None:
    async def scenario() -> None:
        mine, told = provider.Provider("mine", address="https://mine.example.com"), asyncio.Event()
        mine.method("place/mine")(lambda: "mine")
        serving = asyncio.ensure_future(mine.serve_async(own_plane.url))

        async def registered() -> None:
            while not mine._is_registered:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(registered(), 60)
        async with grpc.aio.insecure_channel(own_plane.url.split("//")[1]) as channel:
            listed = await SystemServiceStub(channel).ListProviders(ListProvidersRequest(method="place/mine"))
        assert [(it.name, it.address) for it in listed.providers] == [("mine", "https://mine.example.com")]
        thief = socketio.AsyncClient()
        answers: List[Any] = []

        def rejected(body: Any) -> None:
            answers.append(body["error"]["name"])
            told.set()

        registration = {"component_type": "provider", "component_id": mine._component_id, "methods": ["place/mine"]}
        async def welcome(_: Any) -> None:
            await thief.emit("register_component", registration)

        thief.on("registration_rejected", rejected)
        thief.on("welcome", welcome)
        await thief.connect(own_plane.url, transports=["websocket"])
        await asyncio.wait_for(told.wait(), 60)
        await thief.disconnect()
        assert answers == ["COMPONENT_ID_TAKEN"] and mine._is_registered
        # It comes back with its secret, while the control plane still waits for it.
        mine._is_registered = False
        await mine._line._hub.eio.ws.close()
        await asyncio.wait_for(registered(), 60)
        mine.stop()
        await asyncio.wait_for(serving, 60)

    asyncio.run(scenario())


def test_the_example_is_short_and_works(own_plane: Plane) -> None:
    example = ROOT / "examples" / "provider.py"
    assert len(example.read_text().splitlines()) <= 15
    program = own_plane.program(str(example))
    try:
        with Client(own_plane.url) as client:
            until("it is registered", lambda: client.validate(workflow("geometry/area", width=1, height=2)) == ())
            assert client.run(workflow("geometry/area", width=3, height=2.5))["t"] == 7.5
            with pytest.raises(GleitzeitError):
                client.run(workflow("geometry/area", width="wide", height=1))
            failed = client.run(workflow("geometry/area", width=-1, height=1), check=False)
            assert failed.tasks["t"].error is not None and failed.tasks["t"].attempt == 1
    finally:
        program.send_signal(signal.SIGTERM)
        program.communicate(timeout=60)


@dataclasses.dataclass
class Point:
    x: float
    label: str = ""


def test_schemas_come_from_type_hints() -> None:
    def method(
        a: int, b: Optional[str] = None, c: Literal["x", "y"] = "x", *, d: List[Point], e: Dict[str, Any]
    ) -> Dict[str, float]:
        """Does it."""
        return {}

    point = {
        "type": "object",
        "properties": {"x": {"type": "number"}, "label": {"type": "string"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    assert schema.of_method(method) == {
        "description": "Does it.",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "c": {"enum": ["x", "y"], "default": "x"},
                "d": {"type": "array", "items": point},
                "e": {"type": "object", "additionalProperties": {}},
            },
            "additionalProperties": False,
            "required": ["a", "d", "e"],
        },
        "returns": {"type": "object", "additionalProperties": {"type": "number"}},
    }
    with pytest.raises(TypeError, match="`s` of `bad` has the type"):

        def bad(s: set) -> None: ...  # type: ignore[type-arg]

        schema.of_method(bad)
    with pytest.raises(ValueError, match="PROTOCOL/METHOD"):
        provider.Provider().method("add")


def test_a_drain_waits_for_the_answer_to_the_registration_before() -> None:
    class Line:
        is_connected, url = True, "http://127.0.0.1:1"

        def __init__(self) -> None:
            self.said: List[Any] = []

        async def emit(self, event: str, body: Dict[str, Any]) -> None:
            self.said.append((event, body["max_concurrency"]))

    async def drained() -> List[List[Any]]:
        mine, line = provider.Provider("lab", max_concurrency=8), Line()
        mine._line = line  # type: ignore[assignment]
        await mine._welcome()
        await mine._drain(0)
        before = list(line.said)
        await mine._registered({})
        return [before, line.said]

    before, after = asyncio.run(drained())
    assert before == [("register_component", 8)], "the control plane takes one at a time"
    assert after == [*before, ("register_component", 0)]
