"""A Debian machine in namespaces: a root made with mmdebstrap, in which systemd is the first process."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import pytest
from conftest import needs
from plane import until

PACKAGES = "systemd,systemd-sysv,dbus,init-system-helpers,passwd,mount,python3"


def debian_root(folder: Path) -> Path:
    """An archive of the root; made once."""
    needs("mmdebstrap")
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    archive = folder / "machine.tar"
    if not archive.exists():
        new = folder / "machine-new.tar"
        name = release["VERSION_CODENAME"].strip('"')
        made = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={PACKAGES}", name, str(new)]
        subprocess.run(made, check=True)
        new.rename(archive)
    return archive


class Machine:
    def __init__(self, archive: Path, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        subprocess.run(["tar", "--extract", "--file", archive, "--directory", self.root, "--exclude=./dev/*"], check=True)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        self.log = folder / "boot.log"
        self.outer: subprocess.Popen[bytes] | None = None
        self.first = 0
        self.group: Path | None = None

    def __enter__(self) -> "Machine":
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        unified = next((Path(it[1]) for it in mounts if it[2] == "cgroup2"), None)
        if os.geteuid() != 0 or unified is None:
            pytest.skip("systemd is not booted here: that needs root and a mount of cgroup2")
        self.group = unified / f"gleitzeit-test-{os.getpid()}"
        self.group.mkdir()
        boot = Path(__file__).with_name("boot")
        enter = f'echo $$ > {self.group}/cgroup.procs && exec unshare -pfmuinC --kill-child --propagation private "$0" "$1"'
        with self.log.open("wb") as log:
            self.outer = subprocess.Popen(["bash", "-c", enter, boot, self.root], stdout=log, stderr=log)

        def booted() -> bool:
            assert self.outer
            if self.outer.poll() is not None:
                self.__exit__(None, None, None)
                pytest.skip(f"systemd is not booted here: {self.log.read_text().strip()[-200:]}")
            children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
            if not children:
                return False
            self.first = int(children[0])
            return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

        until("systemd has booted", booted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.first:
            # All of its process namespace ends with it.
            os.kill(self.first, signal.SIGKILL)
        if self.outer:
            self.outer.wait(timeout=30)
        if self.group:
            for found in sorted((it for it in self.group.rglob("*") if it.is_dir()), reverse=True):
                found.rmdir()
            self.group.rmdir()
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, as root."""
        enter = ["nsenter", "--target", str(self.first), "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--"]
        own = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", *(f"{k}={v}" for k, v in variables.items())]
        return subprocess.run([*enter, *own, *words], capture_output=True, text=True, timeout=180)

    def must(self, *words: str, **variables: str) -> str:
        done = self.run(*words, **variables)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--lines=60", "--output=cat").stdout
