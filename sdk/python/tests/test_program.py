"""`python -m gleitzeit` runs the program of the same installation, or reports that there is none."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys

import pytest

from gleitzeit import _program


@pytest.fixture
def installation(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder for packages in which no installer has recorded anything."""
    monkeypatch.setattr(_program, "HERE", tmp_path / "gleitzeit")
    monkeypatch.setattr(importlib.metadata, "files", lambda _: None)
    return tmp_path


def test_the_program_beside_the_package_is_found(installation: pathlib.Path) -> None:
    program = installation / "bin" / "gleitzeit"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    with pytest.raises(_program.ProgramNotFound):
        _program.find()  # it cannot be started
    program.chmod(0o755)
    assert _program.find() == str(program)


def test_a_missing_program_is_reported_with_the_searched_places_and_a_remedy(installation: pathlib.Path) -> None:
    with pytest.raises(_program.ProgramNotFound) as refused:
        _program.find()
    said = str(refused.value)
    assert str(installation / "bin" / "gleitzeit") in said and "hint: " in said and "pip install ." in said


def test_the_installation_for_development_has_no_program() -> None:
    ended = subprocess.run([sys.executable, "-m", "gleitzeit", "version"], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert ended.stderr.startswith("python -m gleitzeit: ") and "hint: " in ended.stderr


def test_a_folder_copied_by_an_old_pip_is_reported_with_a_remedy(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("setuptools")
    copy = tmp_path / "sdk" / "python"
    copy.mkdir(parents=True)
    shutil.copy(pathlib.Path(__file__).parent.parent / "setup.py", copy)
    command = [sys.executable, "setup.py", "--version"]
    ended = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1, ended
    assert str(tmp_path / "pyproject.toml") in ended.stderr and "pip install --upgrade pip" in ended.stderr
