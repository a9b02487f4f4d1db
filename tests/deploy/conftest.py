"""Checks of deploy/: each file against the real program, or the tool that will read it. Run by `.ci/deploy FOLDER`."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def program() -> Path:
    """The program under test: GLEITZEIT_BIN, else what `cargo build` made."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("GLEITZEIT_BIN", target / "debug/gleitzeit")).absolute()
    assert path.exists(), f"{path} is missing: `cargo build`, or name the program with GLEITZEIT_BIN"
    return path


def needs(*tools: str) -> None:
    """Leaves a test out, in one line, where a tool is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def clean_environment() -> dict[str, str]:
    """Without what would change the program's defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GLEITZEIT_", "OTEL_"))}


@functools.cache
def help_of(command: str) -> str:
    done = subprocess.run([program(), command, "--help"], capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_command(words: list[str], variables: dict[str, str]) -> None:
    """Has the program read a command line as it would be run: with `--help` behind it, it judges options and values, and stops.

    Fails with the program's own words if an option or its value is not one, or if a variable is none that the command knows."""
    known = help_of(words[0])
    environment = clean_environment()
    for name, value in variables.items():
        if name.startswith("GLEITZEIT_"):
            assert re.search(rf"\[env: {name}[=\]]", known), f"`gleitzeit {words[0]}` reads no variable {name}"
            environment[name] = value
    done = subprocess.run([program(), *words, "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"gleitzeit {' '.join(words)}\n{done.stderr}"


@pytest.fixture(scope="session")
def work_folder() -> Path:
    """Where tests keep what is dear to make: DEPLOY_FOLDER, as `.ci/deploy` sets it."""
    folder = Path(os.environ.get("DEPLOY_FOLDER", ROOT / "target/deploy"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
