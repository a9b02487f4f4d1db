"""What docs/DEPLOYMENT.md and docs/OBSERVABILITY.md tell to run is known to the program, and the files that they name are there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import DEPLOY, ROOT, check_command

DOCUMENTS = [ROOT / "docs/DEPLOYMENT.md", ROOT / "docs/OBSERVABILITY.md"]


def commands(text: str) -> list[list[str]]:
    """Command lines of `gleitzeit`, in blocks and in sentences, behind variables or another program too."""
    blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"(\$ |gleitzeit |export )", line)]
    told = re.findall(r"`(gleitzeit [^`]+)`", text.replace("\n", " "))
    found = []
    for line in lines + told:
        if found_line := re.search(r"(?:^|[ ])gleitzeit ([a-z][^|&#]*)", line):
            words = shlex.split(found_line[1])
            # `sudo -u gleitzeit gleitzeit backup …`: the program is the last of that name.
            found.append(words[1:] if words[0] == "gleitzeit" else words)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: it.name)
def test_the_program_knows_the_commands(document: Path) -> None:
    found = commands(document.read_text())
    assert len(found) > 8, found
    for words in found:
        # What stands for something of the reader's own is a word like any other; where a form is asked for, one is given.
        check_command([{"AGE": "30m", "URL": "http://localhost:8000"}.get(word, word) for word in words], {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: it.name)
def test_the_files_are_there(document: Path) -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]*\w", document.read_text()))
    # The token is made by whoever deploys.
    missing = [name for name in sorted(named - {"deploy/token"}) if not (ROOT / name).exists()]
    assert named and missing == []


def test_scripts_can_be_read_by_their_shell() -> None:
    scripts = [DEPLOY / name for name in ("image", "package", "stage", "try", "jaeger/build", "debian/postinst", "debian/prerm", "debian/postrm")]
    for script in [*scripts, ROOT / ".ci/deploy"]:
        shell = script.read_text().splitlines()[0].removeprefix("#!").removeprefix("/usr/bin/env ")
        done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
