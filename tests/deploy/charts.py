"""Helm, as a program where there is one, else as the library of the package helm-python-sdk: both are Helm 4."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml


class Refused(Exception):
    """Helm does not render the chart with these values."""


def lint(chart: Path, values: dict[str, Any]) -> list[str]:
    """What is wrong with the chart, warnings included."""
    if shutil.which("helm"):
        done = _helm("lint", "--strict", str(chart), values=values)
        return [] if done.returncode == 0 else [done.stdout + done.stderr]
    library = pytest.importorskip("helm_python", reason="neither helm nor the package helm-python-sdk is installed")
    report = library.lint(chart, values, strict=True)
    serious = [it["error"] for it in report["messages"] if it["severity"] >= 2]
    return serious + report["errors"]


def render(chart: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of the chart, as the release `flow` in the namespace `jobs`."""
    if shutil.which("helm"):
        done = _helm("template", "flow", str(chart), "--namespace", "jobs", values=values)
        if done.returncode != 0:
            raise Refused(done.stderr)
        texts = [done.stdout]
    else:
        texts = [text for name, text in rendered_files(chart, values).items() if name.endswith(".yaml")]
    return [it for text in texts for it in yaml.safe_load_all(text) if it]


def notes(chart: Path, values: dict[str, Any]) -> str:
    files = rendered_files(chart, values)
    return next(text for name, text in files.items() if name.endswith("NOTES.txt"))


def rendered_files(chart: Path, values: dict[str, Any]) -> dict[str, str]:
    library = pytest.importorskip("helm_python", reason="neither helm nor the package helm-python-sdk is installed")
    with library.Chart.load(chart) as loaded:
        try:
            loaded.validate_schema(values)
            return loaded.render(values, name="flow", namespace="jobs")
        except library.HelmError as error:
            raise Refused(str(error)) from error


def _helm(*words: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    asked = ["helm", *words, "--values", "-"]
    return subprocess.run(asked, input=json.dumps(values), capture_output=True, text=True)
