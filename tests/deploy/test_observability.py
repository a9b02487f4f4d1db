"""Alerts and dashboard: what promtool says, and that the /metrics of a control plane that has worked has all that they ask for."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from conftest import DEPLOY, ROOT, needs
from plane import Plane, until

FOLDER = DEPLOY / "observability"
# What Prometheus itself adds.
ADDED = {"job", "instance", "le"}
# What no healthy control plane shows in a minute; the source has them.
RARE = {"engine_lost", "provider_lost", "not_taken"}

Samples = dict[str, list[dict[str, str]]]


def promtool(*words: str) -> str:
    needs("promtool")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def questions() -> list[str]:
    panels = json.loads((FOLDER / "grafana/gleitzeit.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return list(alerts().values()) + asked


def test_promtool_takes_rules_and_configuration() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", "alerts.yaml")
    promtool("check", "config", "--syntax-only", "prometheus.yaml")


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    tried = [it for test in tests for it in test["alert_rule_test"]]
    for name in alerts():
        outcomes = [bool(it["exp_alerts"]) for it in tried if it["alertname"] == name]
        assert True in outcomes and False in outcomes, f"{name} is not tested both ways"


def samples(text: str) -> Samples:
    found: Samples = {}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? ", text, re.M):
        found.setdefault(name, []).append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)))
    return found


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The metrics of a control plane in front of which runs completed, failed, waited and were cancelled."""
    fails: dict[str, Any] = {"message": "no"}
    seen = [
        {"id": "a", "method": "util/echo", "parameters": {"value": 1}},
        {"id": "b", "method": "util/fail", "parameters": fails, "retry": {"max_attempts": 2, "initial_delay": 0.01}},
        {"id": "c", "method": "util/echo", "dependencies": ["b"]},
    ]
    long = [{"id": "a", "method": "util/sleep", "parameters": {"seconds": 600}}]
    found: Samples = {}

    with Plane(tmp_path_factory.mktemp("metrics")) as plane:

        def shown(name: str, **labels: str) -> bool:
            for key, samples_now in samples(plane.metrics()).items():
                known = found.setdefault(key, [])
                known.extend(it for it in samples_now if it not in known)
            return any(labels.items() <= it.items() for it in found.get(name, []))

        plane.start_hub()
        plane.start_agent("owners", "queue,resolver")
        first = plane.submit("Seen", seen)
        until("a task waits in a queue", lambda: shown("gleitzeit_queue_depth", queue="default"))
        plane.start_agent("worker", "engine,provider")
        until("the run has failed", lambda: plane.run(first)["status"] == "failed")
        done = plane.submit("Done", seen[:1])
        until("a run has completed", lambda: plane.run(done)["status"] == "completed")
        second = plane.submit("Long", long)
        until("its task works", lambda: plane.run(second)["tasks"]["a"]["status"] == "running")
        plane.ask("cancel", second)
        until("the cancelled attempt is counted", lambda: shown("gleitzeit_attempts_stopped_total", reason="cancelled"))
        for status in ("failed", "completed"):
            until("runs are counted", lambda status=status: shown("gleitzeit_runs_ended_total", status=status))
        until("engines are counted", lambda: shown("gleitzeit_components", role="engine", status="connected"))
        return found


def test_every_metric_that_is_asked_for_exists(metrics: Samples) -> None:
    names = {name for asked in questions() for name in re.findall(r"\b(?:gleitzeit|process)_\w+", asked)}
    assert len(names) > 20
    assert {name for name in names if name not in metrics} == set(), sorted(metrics)


def test_every_label_that_is_asked_for_exists(metrics: Samples) -> None:
    checked = 0
    for asked in questions():
        names = re.findall(r"\b(?:gleitzeit|process)_\w+", asked)
        known = ADDED | {label for name in names for it in metrics.get(name, []) for label in it}
        for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", asked):
            for label in labels.split(","):
                assert label.strip() in known, f"{label} in {asked}"
                checked += 1
        for name, matchers in re.findall(r"\b((?:gleitzeit|process)_\w+)\{([^}]*)\}", asked):
            there = ADDED | {label for it in metrics[name] for label in it}
            for label in re.findall(r"(\w+)\s*[=!]", matchers):
                assert label in there, f"{name} has no label {label}: {asked}"
                checked += 1
    assert checked > 20


def test_every_value_that_is_asked_for_exists(metrics: Samples) -> None:
    metrics_module = ROOT / "control-plane/src/metrics"
    files = [metrics_module.with_suffix(".rs"), *sorted(metrics_module.glob("*.rs"))]
    source = "".join(file.read_text() for file in files)
    for asked in questions():
        for name, matchers in re.findall(r"\b(gleitzeit_\w+)\{([^}]*)\}", asked):
            for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
                for value in values.split("|"):
                    if value in RARE:
                        assert f'"{value}"' in source, value
                    else:
                        assert any(it.get(label) == value for it in metrics[name]), f"{name} has no {label}={value}"
