"""The version in `Cargo.toml` is that of the chart and of the image as well."""

import re
import tomllib

import yaml
from conftest import DEPLOY, ROOT

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def test_the_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((DEPLOY / "helm/gleitzeit/Chart.yaml").read_text())
    assert chart["version"] == VERSION
    # A string, also where YAML would read a number.
    assert chart["appVersion"] == VERSION


def test_the_image_has_the_version_of_the_program() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", (DEPLOY / "Dockerfile").read_text(), re.M) == [VERSION]
