from __future__ import annotations

import json
import typing

import pytest
from conftest import ROOT

from gleitzeit import Client, events

REPOSITORY = ROOT.parent.parent
#: One event of every recorded form.
GOLDEN = [json.loads(it.read_text()) for it in sorted((REPOSITORY / "core" / "run" / "tests" / "golden" / "events").glob("*.json"))]
#: Of no run; and what is not sent of a submission, of which only the workflow's name is.
OTHERS = {"ownership_granted", "protocol_registered", "protocol_removed", "protocols_used"}
PRIVATE = {"workflow", "files", "env", "request"}
PAGE = (REPOSITORY / "docs" / "PYTHON_SDK.md").read_text()


def sent(event: typing.Any) -> set[str]:
    fields = set(event["data"])
    return fields if "workflow" not in fields else fields - PRIVATE | {"name"}


def test_every_event_of_a_run_is_typed() -> None:
    recorded = {it["type"] for it in GOLDEN} - OTHERS
    assert recorded == set(events.PAYLOADS)
    assert recorded | {"method_progress"} == set(typing.get_args(events.EventType))
    for name in typing.get_args(events.EventType):
        assert f"`{name}`" in PAGE, name


@pytest.mark.parametrize("kind", sorted(events.PAYLOADS))
def test_a_payload_has_the_fields_of_its_type(kind: str) -> None:
    payload: typing.Any = events.PAYLOADS[kind]
    forms = [sent(it) for it in GOLDEN if it["type"] == kind]
    assert set.union(*forms) <= set(typing.get_type_hints(payload))
    assert set.intersection(*forms) >= payload.__required_keys__
    for event in (it for it in GOLDEN if it["type"] == kind and "error" in it["data"]):
        assert set(event["data"]["error"]) <= set(typing.get_type_hints(events.Error))


def test_the_events_of_a_run_match_their_types(client: Client) -> None:
    task = "{id: a, method: util/fail, parameters: {message: no luck}, retry: {max_attempts: 2, initial_delay: 0.01}}"
    run = client.submit(f"name: E\nlabels: {{k: v}}\ntasks:\n  - {task}\n  - {{id: b, method: util/echo, dependencies: [a]}}\n")
    seen = {event.type: event for event in client.watch(run.id)}
    assert {"workflow_submitted", "task_attempt_failed", "task_retry_scheduled", "task_skipped", "workflow_failed"} <= set(seen)
    for event in seen.values():
        payload: typing.Any = events.PAYLOADS[event.type]
        assert payload.__required_keys__ <= set(event.payload) <= set(typing.get_type_hints(payload)), event
        assert event.time is not None and event.task == event.payload.get("task_id", "")
    failed: events.TaskFailed = seen["task_failed"].payload
    assert failed["error"]["message"].startswith("no luck") and failed["attempt"] == 2
