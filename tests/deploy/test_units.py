"""The systemd units: what systemd says of them, and whether the program knows what they tell it."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import DEPLOY, check_command, needs

UNITS = DEPLOY / "systemd"
HUB, AGENT = UNITS / "gleitzeit-hub.service", UNITS / "gleitzeit-agent@.service"


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def command(unit: Path) -> list[str]:
    """The unit's command line, with what systemd fills in."""
    line = settings(unit)["ExecStart"][0]
    for name, value in {"%S": "/var/lib", "%d": "/run/credentials/u", "%H": "host", "%i": "1"}.items():
        line = line.replace(name, value)
    program, *words = shlex.split(line)
    assert program == "/usr/bin/gleitzeit"
    return words


@pytest.mark.parametrize("unit", [HUB, AGENT], ids=lambda unit: unit.name)
def test_the_program_knows_what_a_unit_tells_it(unit: Path, tmp_path: Path) -> None:
    words = command(unit)
    file = Path(words.pop(words.index("--config") + 1)).name
    words.remove("--config")
    check_command(words, {})
    # Every option that its file has, beside those of the command line, which go before it.
    options = yaml.safe_load((UNITS / file).read_text())
    assert options, f"{file} has no option: the program refuses an empty file"
    for name, value in options.items():
        given = ",".join(value) if isinstance(value, list) else str(value)
        assert f"--{name}" not in words
        check_command([words[0], f"--{name}={given}"], {})
    check_command([words[0], "--config", str(UNITS / file)], {})


@pytest.mark.parametrize("unit", [HUB, AGENT], ids=lambda unit: unit.name)
def test_a_unit_exposes_little(unit: Path) -> None:
    needs("systemd-analyze")
    asked = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", str(unit)]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "Unknown" not in done.stderr and "ignoring" not in done.stderr, done.stderr


@pytest.mark.parametrize("unit", [HUB, AGENT], ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    needs("systemd-analyze")
    # The program need not be installed for that: a copy of the unit names one that is there.
    copy = tmp_path / unit.name.replace("@", "@1")
    copy.write_text(unit.read_text().replace("/usr/bin/gleitzeit", shutil.which("true") or "/bin/true"))
    asked = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("unit", [HUB, AGENT], ids=lambda unit: unit.name)
def test_a_unit_ends_in_order(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert found["KillMode"] == ["mixed"], "a signal to all would kill the tasks that the drain waits for"
    words = command(unit)
    if "--drain-timeout" in words:
        drain = int(words[words.index("--drain-timeout") + 1].removesuffix("s"))
        assert int(found["TimeoutStopSec"][0].removesuffix("s")) >= drain + 15
    assert not any(word.startswith("--token=") or word == "--token" for word in words), "all users see command lines"


def test_tasks_run_as_another_user_than_the_journal_belongs_to() -> None:
    users = [settings(unit)["User"] for unit in (HUB, AGENT)]
    assert users[0] != users[1]
    declared = {line.split()[1] for line in (UNITS / "sysusers.d/gleitzeit.conf").read_text().splitlines() if line[:1] == "u"}
    assert {user for (user,) in users} == declared


def test_the_agents_unit_leaves_their_sandbox_what_it_needs() -> None:
    found = settings(AGENT)
    assert set(found["RestrictNamespaces"][0].split()) >= {"user", "pid", "mnt", "net", "ipc", "uts"}
    for name in ("ProtectProc", "ProcSubset", "ProtectKernelTunables", "ProtectKernelLogs", "MemoryDenyWriteExecute"):
        assert name not in found, f"{name} takes from the sandbox, or from tasks, what they need"
