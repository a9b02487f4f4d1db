"""The programs in the documentation run unchanged."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT, Plane

REPOSITORY = ROOT.parent.parent
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "docs" / "PYTHON_SDK.md").read_text(), re.S | re.M)
PROGRAMS = [block for block in BLOCKS if "serve()" not in block]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_documentation_works(program: str, plane: Plane) -> None:
    started = plane.program("-c", program, folder=REPOSITORY)
    said, errors = started.communicate(timeout=60)
    assert started.returncode == 0 and said, errors


def test_the_provider_of_the_documentation_is_the_example() -> None:
    (block,) = [block for block in BLOCKS if "serve()" in block]
    assert block == (ROOT / "examples" / "provider.py").read_text()
