"""The image, built without a registry and run as others run it: any user, a read-only root, signals to its first process."""

import gzip
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DEPLOY, ROOT, clean_environment, needs, program
from plane import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="images are built as root")
# A container of nobody in particular: flags that work in a sandbox, see deploy/image.
LIMITS = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1000:1000", "--network", "host", "--read-only"]
WORKFLOW = {
    "name": "Contained",
    "tasks": [
        {"id": "shell", "method": "shell/run", "parameters": {"command": "id -u"}},
        {"id": "echo", "method": "util/echo", "parameters": {"value": "${shell.output}"}},
    ],
}
# Leaves processes without a parent behind, more than one in a row.
ORPHANS = {"name": "Orphans", "tasks": [{"id": "a", "method": "shell/run", "parameters": {"command": "(sleep 0 & sleep 0 &) & exit 0"}}]}


class Engine:
    """Podman with the storage that deploy/image has filled."""

    def __init__(self, folder: Path) -> None:
        own = ["--storage-driver", "vfs", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self.command = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file", *own]

    def __call__(self, *words: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=timeout)


def built(folder: Path, variant: str) -> Engine:
    needs("mmdebstrap", "buildah", "podman", "runc", "strip")
    # A program for debugging is more than twice as large as one for release; without its names it is near enough.
    stripped = folder.parent / "gleitzeit"
    subprocess.run(["strip", "--strip-all", "-o", stripped, program()], check=True)
    environment = clean_environment() | {"GLEITZEIT_BIN": str(stripped)}
    done = subprocess.run([DEPLOY / "image", folder, variant], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    engine = Engine(folder)
    tried = engine("run", "--rm", *LIMITS, f"localhost/gleitzeit:{variant}", "version")
    if tried.returncode != 0:
        pytest.skip(f"podman runs no container here: {tried.stderr.strip().splitlines()[-1]}")
    return engine


@pytest.fixture(scope="module")
def slim(work_folder: Path) -> Engine:
    return built(work_folder / "image", "slim")


@pytest.fixture(scope="module")
def python(work_folder: Path) -> Engine:
    return built(work_folder / "image", "python")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    for name, document in (("contained", WORKFLOW), ("orphans", ORPHANS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "token").write_text("a-token-for-this-test")
    return tmp_path


@pytest.mark.parametrize("user", ["65532", "12345"])
def test_a_first_run_completes_as_any_user_with_a_read_only_root(slim: Engine, files: Path, user: str) -> None:
    mount = f"{files}:/files:ro"
    done = slim("run", "--rm", *LIMITS, "--user", user, "-v", mount, "localhost/gleitzeit:slim", "run", "/files/contained.json", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["status"] == "completed" and run["tasks"]["shell"]["result"]["output"].strip() == user


def test_python_tasks_complete_in_the_variant_with_python(python: Engine) -> None:
    mount = f"{ROOT}/examples:/examples:ro"
    done = python("run", "--rm", *LIMITS, "--user", "12345", "-v", mount, "localhost/gleitzeit:python", "run", "/examples/quickstart.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"


def test_a_sandbox_that_is_not_possible_is_refused_in_words(python: Engine, files: Path) -> None:
    (files / "strict.yaml").write_text("name: python_local\nprotocol: python/v1\nexecutor: python-local\noptions: {sandbox: strict}\n")
    mounts = ["-v", f"{files}:/files:ro", "-v", f"{ROOT}/examples:/examples:ro"]
    words = ["run", "/examples/quickstart.yaml", "--provider", "/files/strict.yaml", "--json"]
    done = python("run", "--rm", *LIMITS, *mounts, "localhost/gleitzeit:python", *words)
    # Where the engine gives namespaces it works; where it does not, one line says what is missing.
    assert done.returncode == 0 or "`sandbox: strict` is not possible here" in done.stdout + done.stderr


def test_the_image_says_what_it_is_and_what_it_is_made_of(slim: Engine, work_folder: Path) -> None:
    image = json.loads(slim("image", "inspect", "localhost/gleitzeit:slim").stdout)[0]
    labels = image["Labels"]
    assert labels["org.opencontainers.image.title"] == "Gleitzeit" and labels["org.opencontainers.image.licenses"]
    assert image["Config"]["User"] == "65532:65532" and "/data" in image["Config"]["Volumes"]
    assert image["Healthcheck"]["Test"] == ["CMD", "gleitzeit", "healthcheck"]
    listed = slim("run", "--rm", *LIMITS, "--entrypoint", "cat", "localhost/gleitzeit:slim", "/usr/share/sbom/gleitzeit.cdx.json")
    document = json.loads(listed.stdout)
    names = {it["name"] for it in document["components"]}
    assert document["bomFormat"] == "CycloneDX" and {"tokio", "tonic", "gleitzeit-workflow"} <= names
    # What is only for tests is in no program.
    assert "insta" not in names and "socketioxide" not in names
    archive = work_folder / "image/gleitzeit-slim.tar"
    size = len(gzip.compress(archive.read_bytes(), 6))
    assert size <= 60 * 2**20, f"{size / 2**20:.1f} MiB"


@pytest.fixture
def started(slim: Engine, files: Path) -> Iterator[tuple[str, str]]:
    """A control plane with a worker as the first process of a container: its id and address."""
    words = ["start", "--port", "0", "--drain-timeout", "5s", "--token-file", "/files/token"]
    done = slim("run", "--detach", *LIMITS, "--user", "12345", "-v", f"{files}:/files:ro", "localhost/gleitzeit:slim", *words)
    assert done.returncode == 0, done.stderr
    container = done.stdout.strip()
    try:
        said = ""

        def ready() -> bool:
            nonlocal said
            said = next((line for line in slim("logs", container).stdout.splitlines() if line.startswith("ready at ")), "")
            return bool(said)

        until("the control plane is ready", ready)
        yield container, said.removeprefix("ready at ").strip()
    finally:
        slim("rm", "--force", container)


def client(url: str, token: str, *words: str) -> Any:
    environment = clean_environment() | {"GLEITZEIT_TOKEN": token}
    command = [program(), *words, "--json", "--hub-url", url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout)


def metrics_status(url: str, token: str) -> int:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_first_process_leaves_no_zombies_takes_a_new_token_and_ends_in_time(
    slim: Engine, started: tuple[str, str], files: Path
) -> None:
    container, url = started
    token = (files / "token").read_text()
    for _ in range(4):
        run = client(url, token, "submit", str(files / "orphans.json"), "--wait")
        assert run["status"] == "completed"

    def zombies() -> list[str]:
        states = slim("exec", container, "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null").stdout.splitlines()
        assert states
        return [it for it in states if it.rpartition(")")[2].split()[0] == "Z"]

    until("nothing is left of what tasks left behind", lambda: not zombies(), patience=20)

    (files / "token").write_text("another-token")
    until("the new token is taken", lambda: metrics_status(url, "another-token") == 200, patience=20)
    assert metrics_status(url, token) == 401

    began = time.monotonic()
    assert slim("kill", "--signal", "TERM", container).returncode == 0
    ended = slim("wait", container, timeout=60)
    assert ended.stdout.strip() == "0"
    # Nothing runs, so nothing is waited for; podman's own part is in it.
    assert time.monotonic() - began < 15
