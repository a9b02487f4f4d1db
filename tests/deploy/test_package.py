"""The Debian package: installed in a machine with a real systemd, its units started and used, removed without a trace."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import DEPLOY, clean_environment, needs, program
from machine import Machine, debian_root

# What belongs to no package: logs, caches, what dpkg keeps of itself, and what systemd writes as it runs.
NOT_COUNTED = ("var/log/", "var/cache/", "var/lib/dpkg/", "var/lib/systemd/", "var/backups/", "root/", "mnt/", "etc/.pwd.lock")
WORKFLOW = """
name: Packaged
tasks:
  - {id: strict_python, method: python/execute, provider: python_strict, parameters: {code: "import os; result = os.getpid()"}}
  - {id: strict_shell, method: shell/run, provider: shell_strict, parameters: {command: "echo $$"}}
  - {id: python, method: python/execute, provider: python_local, parameters: {code: "import os; result = os.getuid()"}}
  - {id: alone, method: shell/run, provider: shell_local, parameters: {command: "ls /proc | grep -c '^[0-9]'"}}
  - id: foreign
    method: shell/run
    provider: shell_local
    parameters: {command: "cat /etc/gleitzeit/token /var/lib/gleitzeit/journal.db", expected_exit_codes: [1]}
  - {id: copy, method: shell/run, provider: shell_local, parameters: {command: "cat /run/credentials/gleitzeit-agent@1.service/token"}}
  - id: strict_copy
    method: shell/run
    provider: shell_strict
    parameters: {command: "cat /run/credentials/gleitzeit-agent@1.service/token", expected_exit_codes: [1]}
"""
STRICT = "name: {name}_strict\nprotocol: {name}/v1\nexecutor: {name}-local\noptions: {{sandbox: strict}}\n"


@pytest.fixture(scope="module")
def package(work_folder: Path) -> Path:
    needs("cargo-deb", "dpkg-shlibdeps", "strip")
    folder = work_folder / "package"
    environment = clean_environment() | {"GLEITZEIT_BIN": str(program())}
    # `--fast`: packed less well, in a tenth of the time.
    done = subprocess.run([DEPLOY / "package", folder, "--fast"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def state(root: Path) -> dict[str, str]:
    """Every file and folder with what it holds, and the users and groups that there are."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            relative = str(path.relative_to(root))
            if relative.split("/")[0] in ("proc", "sys", "dev", "run", "tmp") or relative.startswith(NOT_COUNTED):
                continue
            kept = path.is_file() and not path.is_symlink() and relative.startswith("etc/") and not relative.endswith("-")
            found[relative] = hashlib.sha256(path.read_bytes()).hexdigest() if kept else ""
    return found


def test_it_is_installed_used_and_removed_without_a_trace(package: Path, work_folder: Path, tmp_path: Path) -> None:
    with Machine(debian_root(work_folder), tmp_path) as machine:
        before = state(machine.root)
        (machine.root / "root/gleitzeit.deb").write_bytes(package.read_bytes())
        machine.must("dpkg", "--install", "/root/gleitzeit.deb")
        assert "inactive" in machine.run("systemctl", "is-active", "gleitzeit-hub").stdout, "nothing is started unasked"
        token = machine.must("cat", "/etc/gleitzeit/token")
        assert len(token) == 64
        assert machine.must("stat", "--format=%U %a", "/etc/gleitzeit/token").strip() == "root 600"
        for name in ("python", "shell"):
            (machine.root / f"etc/gleitzeit/providers/{name}_strict.yaml").write_text(STRICT.format(name=name))

        # `Type=notify`: this returns once the control plane is ready.
        machine.must("systemctl", "start", "gleitzeit-hub", "gleitzeit-agent@1")
        (machine.root / "root/packaged.yaml").write_text(WORKFLOW)
        variables = {"GLEITZEIT_TOKEN_FILE": "/etc/gleitzeit/token", "GLEITZEIT_HUB_URL": "http://127.0.0.1:8000"}
        machine.must("gleitzeit", "healthcheck", **variables)
        run = json.loads(machine.must("gleitzeit", "submit", "/root/packaged.yaml", "--wait", "--json", **variables))
        results = {name: task["result"] for name, task in run["tasks"].items()}
        assert run["status"] == "completed", run
        assert str(results["python"]["result"]) == machine.must("id", "--user", "gleitzeit-agent").strip()
        # A call has a process namespace of its own, also at the lower level.
        assert int(results["alone"]["output"]) < 10
        # Tasks reach neither the journal nor the token's file, but at `limits` the agent's own copy, as docs/DEPLOYMENT.md says.
        assert results["foreign"]["error_output"].count("Permission denied") == 2 and results["foreign"]["output"] == ""
        assert results["copy"]["output"].strip() == token
        assert results["strict_copy"]["output"] == "" and "No such file" in results["strict_copy"]["error_output"], results["strict_copy"]

        for unit in ("gleitzeit-hub", "gleitzeit-agent@1"):
            process = machine.must("systemctl", "show", "--property=MainPID", "--value", unit).strip()
            assert token not in machine.must("cat", f"/proc/{process}/cmdline") + machine.must("cat", f"/proc/{process}/environ")
            shown = machine.must("systemctl", "show", "--property=NRestarts,Result", unit)
            assert "NRestarts=0" in shown and "Result=success" in shown, machine.journal()
        # An update restarts what runs, and that only.
        was = machine.must("systemctl", "show", "--property=MainPID", "gleitzeit-hub", "gleitzeit-agent@1")
        machine.must("dpkg", "--install", "/root/gleitzeit.deb")
        now = machine.must("systemctl", "show", "--property=MainPID", "gleitzeit-hub", "gleitzeit-agent@1")
        assert not set(was.split()) & set(now.split()) and "MainPID=0" not in now
        assert machine.must("cat", "/etc/gleitzeit/token") == token
        assert "inactive" in machine.run("systemctl", "is-active", "gleitzeit-agent@2").stdout
        # One that does not start leaves the package installed all the same.
        options = machine.root / "etc/gleitzeit/hub.yaml"
        good = options.read_text()
        options.write_text("port: eight\n")
        machine.must("dpkg", "--install", "/root/gleitzeit.deb")
        assert machine.must("dpkg-query", "--show", "--showformat=${db:Status-Status}", "gleitzeit") == "installed"
        assert machine.run("systemctl", "is-active", "gleitzeit-hub").stdout.strip() != "active"
        options.write_text(good)
        machine.must("systemctl", "restart", "gleitzeit-hub")
        machine.must("systemctl", "stop", "gleitzeit-agent@1", "gleitzeit-hub")
        for unit in ("gleitzeit-hub", "gleitzeit-agent@1"):
            shown = machine.must("systemctl", "show", "--property=Result,ExecMainStatus", unit)
            assert "Result=success" in shown and "ExecMainStatus=0" in shown, machine.journal()

        # It may run when it is removed.
        machine.must("systemctl", "enable", "--now", "gleitzeit-hub", "gleitzeit-agent@1")
        machine.must("dpkg", "--purge", "gleitzeit")
        assert machine.run("pgrep", "-x", "gleitzeit").stdout == ""
        after = state(machine.root)
        assert {name: after.get(name) for name in before} == before
        assert set(after) - set(before) == set()
