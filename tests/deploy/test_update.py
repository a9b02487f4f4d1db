"""An update under load: agents and control plane are stopped with SIGTERM and started again in turn, while runs are submitted."""

import datetime
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from plane import Plane, until

# A guard against a hang. How long nothing ends depends on the machine and what else it does; about a second on one that is idle.
LONGEST_PAUSE = 60.0


def tasks(effects: Path) -> list[dict[str, Any]]:
    """Long enough to be at work when its agent is told to stop, and well within the drain. Each attempt that ends leaves a line."""
    command = f'sleep 0.5; echo "${{run.id}}" >> {effects}'
    return [
        {"id": "work", "method": "shell/run", "parameters": {"command": command}},
        {"id": "after", "method": "util/echo", "dependencies": ["work"]},
    ]


def ended_at(run: Any) -> float:
    return datetime.datetime.fromisoformat(run["finished_at"].replace("Z", "+00:00")).timestamp()


def test_an_update_in_turn_loses_nothing_and_repeats_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    effects = tmp_path / "effects"
    effects.touch()
    submitted: list[str] = []
    failures: list[BaseException] = []
    done = threading.Event()

    with Plane(tmp_path) as plane:
        plane.start_hub()
        for name in ("one", "two"):
            plane.start_agent(name, "all")

        def submit() -> None:
            while not done.is_set():
                try:
                    submitted.append(plane.submit("Load", tasks(effects), request_id=str(uuid.uuid4())))
                except BaseException as error:  # told by the test itself
                    failures.append(error)
                    return

        load = threading.Thread(target=submit)
        load.start()
        try:
            until("work is done", lambda: len(effects.read_text().splitlines()) >= 3)
            for name in ("hub", "one", "two"):
                before = len(effects.read_text().splitlines())
                plane.stop(name)
                if name == "hub":
                    plane.start_hub()
                else:
                    plane.start_agent(name, "all")
                wanted = before + 5
                until("work is done again", lambda wanted=wanted: bool(failures) or len(effects.read_text().splitlines()) >= wanted)
                assert not failures, failures
        finally:
            done.set()
            load.join()
        assert not failures, failures
        assert len(submitted) > 10
        until("every run has ended", lambda: all(plane.run(it)["status"] != "running" for it in submitted))
        runs = [plane.run(it) for it in submitted]

    assert [run["status"] for run in runs] == ["completed"] * len(runs)
    assert sorted(effects.read_text().split()) == sorted(submitted), "each task that could end has ended once"
    ends = sorted(ended_at(run) for run in runs)
    pauses = [later - earlier for earlier, later in zip(ends, ends[1:])]
    with capsys.disabled():
        print(f"\nthe longest pause of an update in turn: {max(pauses):.1f} s")
    assert max(pauses) <= LONGEST_PAUSE, pauses
