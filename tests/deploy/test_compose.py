"""The compose file: parsed by a program that runs such files, and what its services run judged by the program."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import DEPLOY, ROOT, check_command

LOCAL = DEPLOY / "observability/this-machine.yaml"
Service = dict[str, Any]


def parsed(*files: Path) -> dict[str, Any]:
    pytest.importorskip("podman_compose", reason="the package podman-compose is not installed")
    words = [word for file in files for word in ("-f", str(file))]
    done = subprocess.run([sys.executable, "-m", "podman_compose", *words, "config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    found = parsed(DEPLOY / "compose.yaml")["services"]
    assert isinstance(found, dict)
    return found


def ours(services: dict[str, Service]) -> dict[str, Service]:
    return {name: it for name, it in services.items() if "build" in it}


def test_all_are_there(services: dict[str, Service]) -> None:
    # `first` stands under a profile, and is written out only where that is chosen.
    assert {"control-plane", "agent-1", "agent-2", "jaeger", "prometheus", "grafana"} <= set(services)


def test_the_program_knows_what_its_services_run() -> None:
    # As written, so that services under a profile are among them.
    written = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(ours(written)) == {"control-plane", "agent-1", "agent-2", "first"}
    for name, service in ours(written).items():
        check_command(service["command"], {})
        assert "--token-file" in service["command"] and "token" in service["secrets"], name
        if probe := service.get("healthcheck"):
            assert probe["test"][:2] == ["CMD", "gleitzeit"]
            check_command(probe["test"][2:], {})
        if name == "first":
            (file,) = [word for word in service["command"] if word.startswith("/examples/")]
            assert (ROOT / "examples" / Path(file).name).exists()


def test_services_can_do_little_and_end_in_order(services: dict[str, Service]) -> None:
    for name, service in ours(services).items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["tmpfs"] and not service.get("privileged"), name
        if name.startswith("agent"):
            drain = int(service["command"][service["command"].index("--drain-timeout") + 1].removesuffix("s"))
            assert int(service["stop_grace_period"].removesuffix("s")) >= drain + 15


def test_only_this_machine_reaches_them(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_what_is_mounted_is_there_and_images_of_others_have_a_version(services: dict[str, Service]) -> None:
    mounts = 0
    for name, service in services.items():
        if name not in ours(services):
            assert service["image"].rpartition(":")[2] not in ("", "latest"), name
        for mount in service.get("volumes", []):
            source = mount["source"] if isinstance(mount, dict) else mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name} mounts {source}"
                mounts += 1
    assert mounts >= 4


def test_traces_and_metrics_find_their_way(services: dict[str, Service]) -> None:
    for name in ("control-plane", "agent-1", "agent-2"):
        endpoint = services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        host = endpoint.removeprefix("http://").split(":")[0]
        assert host in services, f"{name} sends traces to {endpoint}"
    scraped = yaml.safe_load((DEPLOY / "observability/prometheus.yaml").read_text())["scrape_configs"][0]
    assert scraped["job_name"] == "gleitzeit", "the alerts ask for this job"
    (target,) = scraped["static_configs"][0]["targets"]
    host, port = target.split(":")
    command = services[host]["command"]
    assert command[command.index("--port") + 1] == port
    assert scraped["authorization"]["credentials_file"] == "/run/secrets/token"


def test_the_same_watches_a_control_plane_of_this_machine() -> None:
    prometheus = parsed(DEPLOY / "compose.yaml", LOCAL)["services"]["prometheus"]
    assert prometheus["extra_hosts"] == ["control-plane:host-gateway"]
    assert "token" in prometheus["secrets"] and len(prometheus["volumes"]) == 2
