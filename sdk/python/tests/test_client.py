from __future__ import annotations

import asyncio
import datetime
import inspect
import os
import pathlib
import socket
import threading
import time

import pytest
from conftest import ROOT, Plane, until

from gleitzeit import AsyncClient, Client, Event, GleitzeitError, RunFailed, Workflow, WorkflowNote

ECHO = "name: Echo\ninputs: {n: 1}\ntasks:\n  - {id: a, method: util/echo, parameters: {n: '${inputs.n}'}}\noutputs: {n: '${a.n}'}\n"
SLEEP = "name: Sleep\ntasks:\n  - {id: a, method: util/sleep, parameters: {seconds: 600}}\n"
FAIL = "name: Fail\ntasks:\n  - {id: ok, method: util/echo}\n  - {id: no, method: util/fail, parameters: {message: no luck, retryable: false}}\n"


def test_a_run_from_text_keeps_the_types_of_its_values(client: Client) -> None:
    value = {"big": 2**63, "text": "ä\n", "list": [1.5, None, True]}
    with pytest.raises(GleitzeitError, match="input `n` takes a number, as its default is, and was given an object"):
        client.run(ECHO, {"n": value})
    run = client.run(ECHO.replace("n: 1", "n: null"), {"n": value})
    assert (run.status, run.outputs, run["a"]) == ("completed", {"n": value}, {"n": value})
    assert run.submitted_at is not None and run.finished_at is not None and run.submitted_at <= run.finished_at
    assert "Echo" in run._repr_html_() and run.id in run._repr_html_()
    with pytest.raises(KeyError):
        run["b"]


def test_a_file_is_read_with_the_files_that_it_declares(client: Client, tmp_path: pathlib.Path) -> None:
    (tmp_path / "style.txt").write_text("plain")
    file = tmp_path / "w.yaml"
    file.write_text("name: F\nfiles: {style: style.txt}\ntasks:\n  - {id: a, method: util/echo, parameters: {s: '${files.style}'}}\n")
    assert client.run(file)["a"] == {"s": "plain"}
    assert client.run(str(file), files={"style": "other"})["a"] == {"s": "other"}
    (tmp_path / "style.txt").unlink()
    with pytest.raises(GleitzeitError, match="the file `style` of the workflow cannot be read"):
        client.run(file)
    os.mkfifo(tmp_path / "style.txt")
    with pytest.raises(GleitzeitError, match="is no regular file"):
        client.run(file)
    if pathlib.Path("/proc/self/environ").exists():
        (tmp_path / "style.txt").unlink()
        (tmp_path / "style.txt").symlink_to("/proc/self/environ")
        with pytest.raises(GleitzeitError, match="a view into the running system"):
            client.run(file)
    with pytest.raises(GleitzeitError, match="nowhere.yaml"):
        client.run("nowhere.yaml")


def test_a_workflow_in_python_is_the_same_as_in_yaml(client: Client) -> None:
    wf = Workflow("Sum", inputs={"n": 3}, labels={"team": "trains"})
    first = wf.task("python/execute", code=f"result = {{'value': {wf.input('n')} * 2}}")
    second = wf.task("python/execute", code=f"result = {first.result['value']} + 1", after=first)
    side = wf.task("util/echo", id="side", after=[first, "execute_2"], provider="util", queue="default", retry={"max_attempts": 2}, text=f"<{second.result}>")
    wf.output("sum", second.result)
    run = client.run(wf, {"n": 20})
    assert (run.outputs, run["side"], dict(run.labels)) == ({"sum": 41}, {"text": "<41>"}, {"team": "trains"})
    assert list(run.tasks) == ["execute", "execute_2", "side"] and repr(side) == "<task side>"
    for wrong in (lambda: wf.input("m"), lambda: wf.task("util/echo", id="side"), lambda: wf.task("util/echo", id="env")):
        with pytest.raises(GleitzeitError):
            wrong()


def test_a_failed_run_says_why_and_can_be_retried(client: Client) -> None:
    with pytest.raises(RunFailed) as failed:
        client.run(FAIL)
    run = failed.value.run
    assert run.status == "failed" and run.tasks["no"].error is not None
    assert "no luck" in run.tasks["no"].error.message and failed.value.name == "WORKFLOW_EXECUTION_FAILED"
    again = client.wait(client.retry(run.id).id)
    assert (again.retry_of, again.tasks["ok"].attempt, again.status) == (run.id, 0, "failed")
    assert client.wait(client.retry(run.id, all=True).id).tasks["ok"].attempt == 1
    assert client.run(FAIL, check=False).status == "failed"


def test_all_problems_are_reported_with_their_places(client: Client) -> None:
    with pytest.raises(GleitzeitError) as refused:
        client.submit("name: W\ntasks:\n  - {id: a, method: util/ecko}\n  - {id: a, method: util/echo}\n")
    problems = refused.value.problems
    assert len(problems) == 2 and (problems[0].line, problems[0].column) == (3, 21)
    assert refused.value.name == "METHOD_NOT_FOUND" and "util/echo" in str(refused.value)
    assert len(client.validate("name: W\ntasks:\n  - {id: a, method: util/ecko}\n")) == 1
    assert client.validate(ECHO) == ()


def test_a_part_without_an_effect_is_a_warning(client: Client) -> None:
    with pytest.warns(WorkflowNote, match="1:1: `wait_for_completion` is not needed.*remove it"):
        assert client.validate("wait_for_completion: true\n" + ECHO) == ()
    with pytest.warns(WorkflowNote, match="wait_for_completion") as told:
        client.submit("wait_for_completion: true\n" + ECHO)
    assert told[0].filename == __file__
    with pytest.raises(GleitzeitError) as unknown:
        client.get("01930000-0000-7000-8000-000000000001")
    assert (unknown.value.name, unknown.value.unreachable) == ("WORKFLOW_NOT_FOUND", False)
    with pytest.raises(GleitzeitError, match="cannot be written as JSON"):
        client.submit(ECHO, {"n": {1, 2}})


def test_a_run_is_part_of_the_caller_s_trace(plane: Plane) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Client(plane.url, traceparent=f"00-{trace}-00f067aa0ba902b7-01") as client:
        assert client.submit(ECHO).correlation_id == trace


def test_the_same_request_id_is_the_same_run(client: Client) -> None:
    runs = {client.submit(ECHO, request_id="python-once").id for _ in range(3)}
    assert len(runs) == 1
    with pytest.raises(GleitzeitError):
        client.submit(ECHO, {"n": 2}, request_id="python-once")
    assert client.submit(ECHO).id != client.submit(ECHO).id


def test_a_run_is_watched_explained_cancelled_and_listed(client: Client) -> None:
    run = client.submit(SLEEP, labels={"kind": "python-test"})
    until("it runs", lambda: client.get(run.id).tasks["a"].status == "running")
    assert client.wait(run.id, timeout=0.05).status == "running"
    explanation = client.explain(run.id)
    assert explanation.status == "running" and explanation.tasks[0].id == "a"
    assert [it.id for it in client.list(status="running", labels={"kind": "python-test"}, limit=5)] == [run.id]
    seen = []
    watcher = threading.Thread(target=lambda: seen.extend(client.watch(run.id)))
    watcher.start()
    assert client.cancel(run.id, "enough") in ("running", "cancelled")
    watcher.join(60)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert (seen[0].type, seen[-1].type) == ("workflow_submitted", "workflow_cancelled")
    assert [task.status for task in client.tasks(run.id)] == ["cancelled"]
    with pytest.raises(GleitzeitError, match="not a status"):
        list(client.list(status="done"))
    submitted = client.get(run.id).submitted_at
    assert submitted is not None
    minute = datetime.timedelta(minutes=1)
    label = {"kind": "python-test"}
    assert run.id in [it.id for it in client.list(labels=label, since=submitted, until=submitted + minute)]
    assert run.id not in [it.id for it in client.list(labels=label, until=submitted)]
    with pytest.raises(GleitzeitError, match="time zone"):
        list(client.list(since=datetime.datetime(2026, 1, 1)))


def test_tasks_show_what_they_wait_for(client: Client) -> None:
    run = client.run("name: D\ntasks:\n  - {id: a, method: util/echo}\n  - {id: b, method: util/echo, dependencies: [a]}\n")
    assert [it.dependencies for it in client.tasks(run.id, dependencies=True)] == [(), ("a",)]
    assert [it.dependencies for it in client.tasks(run.id)] == [(), ()]


def test_output_of_tasks_is_visible_while_they_run(client: Client, plane: Plane, tmp_path: pathlib.Path) -> None:
    gate = tmp_path / "gate"
    code = f"import os, sys, time\nprint('first')\nprint('wärum', file=sys.stderr)\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.02)\nprint('last')"
    wf = Workflow("Prints")
    wf.task("python/execute", id="it", code=code)
    run = client.submit(wf)
    until("both lines are known", lambda: len(client.progress(run.id)) == 2)
    assert [event.output.text for event in client.progress(run.id, ["it"]) if event.output] != [] == client.progress(run.id, ["other"])

    async def the_same() -> list[Event]:
        async with AsyncClient(plane.url) as other:
            assert await other.progress(run.id) == client.progress(run.id)
            events = []
            async for event in other.watch(run.id, so_far=True):
                events.append(event)
                if sum(event.output is not None for event in events) == 2:
                    gate.touch()
            return events

    seen: list[Event] = []
    watcher = threading.Thread(target=lambda: seen.extend(client.watch(run.id, so_far=True)))
    watcher.start()
    events = asyncio.run(the_same())
    watcher.join(60)
    for each in (seen, events):
        said = {"stdout": "", "stderr": ""}
        for event in each:
            if event.output is not None:
                assert (event.seq, event.task, event.output.offset, event.output.note) == (0, "it", len(said[event.output.stream].encode()), False)
                said[event.output.stream] += event.output.text
        assert said == {"stdout": "first\nlast\n", "stderr": "wärum\n"}
        assert each[-1].type == "workflow_completed"
    assert client.progress(run.id) == []
    assert all(event.output is None for event in client.watch(run.id, progress=True))


def test_waiting_and_watching_survive_a_crash_of_the_control_plane(own_plane: Plane) -> None:
    client = Client(own_plane.url, max_retries=50)
    run = client.submit("name: S\ntasks:\n  - {id: a, method: util/sleep, parameters: {seconds: 2}}\n")
    seen, ends = [], []
    threads = [
        threading.Thread(target=lambda: seen.extend(client.watch(run.id))),
        threading.Thread(target=lambda: ends.append(client.wait(run.id))),
    ]
    for thread in threads:
        thread.start()
    until("it is watched", lambda: len(seen) > 0 or client.get(run.id).status == "running")
    own_plane.kill()
    own_plane.start()
    for thread in threads:
        thread.join(60)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1)) and seen[-1].type == "workflow_completed"
    assert ends[0].status == "completed"


def test_a_closed_port_is_unreachable_and_the_error_names_the_address() -> None:
    with pytest.raises(GleitzeitError, match="http://127.0.0.1:9") as away:
        Client("http://127.0.0.1:9", max_retries=0).get("01930000-0000-7000-8000-000000000001")
    assert away.value.unreachable
    with pytest.raises(GleitzeitError, match="not an address"):
        Client("ftp://localhost:8000")


def test_the_asyncio_client_does_the_same(plane: Plane) -> None:
    async def main() -> None:
        async with AsyncClient(plane.url) as client:
            runs = await asyncio.gather(*(client.run(ECHO, {"n": n}) for n in range(5)))
            assert [run.outputs["n"] for run in runs] == list(range(5))
            events = [event.type async for event in client.watch(runs[0].id)]
            assert events[-1] == "workflow_completed"
            assert [task.id async for task in client.tasks(runs[0].id)] == ["a"]
            assert runs[0].id in [run.id async for run in client.list(name="Echo")]
            sleeping = await client.submit(SLEEP)
            await client.cancel(sleeping.id)
            assert (await client.wait(sleeping.id)).status == "cancelled"
            with pytest.raises(GleitzeitError) as refused:
                await client.submit("name: W\n")
            assert refused.value.problems

    asyncio.run(main())


def test_both_clients_offer_the_same() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(it).parameters) for name, it in methods if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


def test_the_shortest_example_is_short_and_works(plane: Plane) -> None:
    example = ROOT / "examples" / "hello.py"
    assert len(example.read_text().splitlines()) <= 10
    program = plane.program(str(example))
    said, errors = program.communicate(timeout=60)
    assert (program.returncode, said) == (0, "Hello, Ada\n"), errors


def test_a_silent_port_is_reported_within_ten_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        # Also: an address may lack its scheme and have a slash.
        with Client(f"127.0.0.1:{silent.getsockname()[1]}/") as client, pytest.raises(GleitzeitError) as raised:
            client.get("0192f0c1-2345-7abc-8def-0123456789ab")
    assert "accepts connections but sends nothing" in str(raised.value)
    assert raised.value.name == "CONNECTION_TIMEOUT" and raised.value.unreachable
    assert time.monotonic() - begun < 20


def test_an_address_is_read_as_the_command_line_reads_it() -> None:
    for text in ("localhost:8000", "localhost:8000//", " http://localhost:8000/ "):
        with Client(text) as client:
            assert client.settings.url == "http://localhost:8000"
    for text in ("http://localhost:8000/path", "redis://x", "http://", "localhost:8000?x", "localhost:x", ":8000"):
        with pytest.raises(GleitzeitError):
            Client(text)
