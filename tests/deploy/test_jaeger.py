"""A real Jaeger, built from its Go module by deploy/jaeger/build: one run that lost an engine and its control plane is one tree."""

import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DEPLOY
from plane import Plane, until

TASKS: list[dict[str, Any]] = [
    {"id": "again", "method": "util/fail", "dependencies": ["slow"], "parameters": {"message": "no luck", "until_attempt": 2},
     "retry": {"max_attempts": 3, "initial_delay": 0.1}},
    {"id": "last", "method": "util/fail", "dependencies": ["again"], "parameters": {"message": "no luck at all"}},
]


def slow_until(gate: Path) -> dict[str, Any]:
    """Works until the file is there, however long the other steps of the test take."""
    return {"id": "slow", "method": "shell/run", "parameters": {"command": f"until [ -e {gate} ]; do sleep 0.1; done"}}


# So that a loss is noticed soon.
PATIENCE = ["--heartbeat-interval", "500ms", "--engine-patience", "1s", "--owner-patience", "1s", "--provider-patience", "1s"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answer(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as found:
        return json.loads(found.read())


@pytest.fixture
def jaeger(work_folder: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses of its query API and of its receiver."""
    built = Path(os.environ.get("JAEGER_BIN", work_folder / "jaeger/jaeger"))
    if not built.exists():
        pytest.skip(f"Jaeger is not built; ten minutes with Go: deploy/jaeger/build {built.parent}")
    query, grpc, otlp = free_port(), free_port(), free_port()
    ports = {"JAEGER_QUERY_PORT": str(query), "JAEGER_GRPC_PORT": str(grpc), "JAEGER_OTLP_PORT": str(otlp)}
    with (tmp_path / "jaeger.log").open("w") as log:
        command = [built, "--config", DEPLOY / "jaeger/config.yaml"]
        process = subprocess.Popen(command, env=os.environ | ports, stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, (tmp_path / "jaeger.log").read_text()
        try:
            answer(f"http://127.0.0.1:{query}/api/services")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    try:
        until("Jaeger answers", is_ready)
        yield f"http://127.0.0.1:{query}", f"http://127.0.0.1:{otlp}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def tags(it: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in it["tags"]}


def test_a_run_through_the_loss_of_an_engine_and_a_kill_of_the_hub_is_one_tree(jaeger: tuple[str, str], tmp_path: Path) -> None:
    query, receiver = jaeger
    gate = tmp_path / "gate"
    with Plane(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver, OTEL_METRICS_EXPORTER="none") as plane:
        plane.start_hub(*PATIENCE)
        plane.start_agent("owners", "queue,resolver,provider")
        plane.start_agent("first", "engine")
        run = plane.submit("Traced", [slow_until(gate), *TASKS])
        until("its first task works", lambda: plane.run(run)["tasks"]["slow"]["status"] == "running")
        plane.start_agent("second", "engine")
        plane.kill("first")
        until("another engine has it", lambda: plane.run(run)["tasks"]["slow"]["attempt"] >= 2)
        plane.kill("hub")
        plane.start_hub(*PATIENCE)
        gate.touch()
        until("the run has ended", lambda: plane.run(run)["status"] == "failed")
        trace = plane.run(run)["correlation_id"]

        # The control plane sends a run when it has ended, the agents their calls in batches of their own.
        def complete() -> bool:
            try:
                names = [span["operationName"] for span in answer(f"{query}/api/traces/{trace}")["data"][0]["spans"]]
            except urllib.error.HTTPError:
                return False
            return "workflow Traced" in names and names.count("call util/fail") == 3 and "call shell/run" in names

        until("Jaeger has the whole trace", complete)
        found = answer(f"{query}/api/traces/{trace}")
        services = answer(f"{query}/api/services")["data"]

    assert services == ["gleitzeit"]
    (tree,) = found["data"]
    spans = {span["spanID"]: span for span in tree["spans"]}
    assert len(spans) == len(tree["spans"]), "each span is there once"
    assert not tree.get("warnings") and not found.get("errors")
    assert [span["warnings"] for span in spans.values() if span.get("warnings")] == []
    assert {span["traceID"] for span in spans.values()} == {trace}
    roots = [span for span in spans.values() if not span["references"]]
    assert [root["operationName"] for root in roots] == ["workflow Traced"]
    for span in spans.values():
        for reference in span["references"]:
            assert reference["refType"] == "CHILD_OF" and reference["spanID"] in spans, span["operationName"]

    def of_task(task: str) -> list[str]:
        return sorted(span["operationName"] for span in spans.values() if tags(span).get("gleitzeit.task.id") == task)

    for task in ("slow", "again", "last"):
        assert f"task {task}" in of_task(task) and {"resolve", "queue", "attempt 1"} <= set(of_task(task)), of_task(task)
    assert "attempt 2" in of_task("slow") and "attempt 2" in of_task("again") and "attempt 2" not in of_task("last")
    reasons = [tags(span).get("gleitzeit.stop_reason") for span in spans.values()]
    assert "engine_lost" in reasons
    for span in spans.values():
        if tags(span).get("otel.status_code") == "ERROR":
            assert tags(span)["error.type"], span["operationName"]
    assert tags(roots[0])["otel.status_code"] == "ERROR" and tags(roots[0])["error.type"]
    for process in tree["processes"].values():
        assert process["serviceName"] == "gleitzeit"
        assert {"service.version", "service.instance.id"} <= set(tags(process))
