"""Finds the program that was installed together with this package."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
from typing import Iterator

NAME = "gleitzeit"
HERE = pathlib.Path(__file__).resolve().parent


class ProgramNotFound(Exception):
    """This installation has no program; the text says where it was searched and what to do."""


def find() -> str:
    """The path of this installation's program; any other one on `PATH` is ignored."""
    looked = []
    for path in _places():
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
        looked.append(str(path))
    raise ProgramNotFound(
        f"the package in {HERE} was installed without the program `{NAME}`"
        + (f" (not at {', '.join(looked)})" if looked else "")
        + "\n\nhint: an installation from `sdk/python` has none, nor has one for a platform without a wheel of its own; "
        "`pip install .` in a checkout builds the program with Cargo, and "
        f"a `{NAME}` that is on PATH is called by its name"
    )


def _places() -> Iterator[pathlib.Path]:
    """Where installers may put it: as recorded, and beside the package for `pip install --target`."""
    try:
        for file in importlib.metadata.files("gleitzeit") or []:
            if file.name == NAME and file.parent.name == "bin":
                yield pathlib.Path(os.path.normpath(file.locate()))
    except importlib.metadata.PackageNotFoundError:
        pass
    yield HERE.parent / "bin" / NAME
