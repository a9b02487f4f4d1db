"""The Helm chart: rendered with five sets of values, validated for three Kubernetes versions, and what its pods run judged by the
program."""

import json
import re
from pathlib import Path
from typing import Any

import charts
import pytest
import yaml
from conftest import DEPLOY, ROOT, check_command

CHART = DEPLOY / "helm/gleitzeit"
SETS = sorted((CHART / "ci").glob("*-values.yaml"))
VERSIONS = ["1.29.0", "1.33.0", "1.37.0"]
# Kinds of others, whose schemas no Kubernetes has.
FOREIGN = {"GRPCRoute", "HTTPRoute", "ServiceMonitor", "PrometheusRule"}

Object = dict[str, Any]


def values_of(file: Path) -> Object:
    found = yaml.safe_load(file.read_text())
    assert isinstance(found, dict)
    return found


def named(file: Path) -> str:
    return file.name.removesuffix("-values.yaml")


@pytest.fixture(scope="module", params=SETS, ids=named)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return charts.render(CHART, values_of(request.param))


def pods(objects: list[Object]) -> list[tuple[Object, Object]]:
    """Of each pod its labels and its spec."""
    found = []
    for it in objects:
        if it["kind"] == "Pod":
            found.append((it["metadata"]["labels"], it["spec"]))
        elif it["kind"] in ("StatefulSet", "Deployment"):
            found.append((it["spec"]["template"]["metadata"]["labels"], it["spec"]["template"]["spec"]))
    return found


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [it for it in objects if it["kind"] == kind]


def test_there_are_five_sets_of_values() -> None:
    assert len(SETS) == 5


@pytest.mark.parametrize("file", SETS, ids=named)
def test_helm_finds_nothing_wrong(file: Path) -> None:
    assert charts.lint(CHART, values_of(file)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(objects: list[Object], version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate is not installed")
    assert len(objects) >= 6
    for it in objects:
        # As Kubernetes reads it: JSON, so that no date or anchor of YAML is left.
        it = json.loads(json.dumps(it))
        if it["kind"] in FOREIGN:
            assert it["apiVersion"] in ("gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1")
            continue
        try:
            validator.validate(it, version, strict=True)
        except Exception as error:
            pytest.fail(f"{it['kind']} {it['metadata']['name']} for Kubernetes {version}: {error}")


def test_the_program_knows_what_its_pods_run(objects: list[Object]) -> None:
    checked = 0
    for _, spec in pods(objects):
        for container in spec["containers"]:
            assert container["command"] == ["gleitzeit"]
            variables = {it["name"]: it.get("value", "x") for it in container.get("env", [])}
            words = [word.replace("$(POD_NAME)", "pod-1") for word in container["args"]]
            assert "$(" not in " ".join(words)
            # Those of the control plane are for who looks at it from inside, with `kubectl exec`.
            traces = {"GLEITZEIT_TRACE_URL": variables.pop(it) for it in ["GLEITZEIT_TRACE_URL"] if it in variables}
            check_command(["trace", "last"], traces)
            check_command(["status"] if words[0] == "hub" else [words[0]], variables)
            check_command(words, {})
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                if executed := container.get(probe, {}).get("exec"):
                    assert executed["command"][0] == "gleitzeit"
                    check_command(executed["command"][1:], {})
                    checked += 1
            checked += 1
    assert checked >= 4


def test_nothing_secret_stands_in_it(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")
    for _, spec in pods(objects):
        for container in spec["containers"]:
            text = json.dumps(container)
            assert "--token=" not in text and '"GLEITZEIT_TOKEN"' not in text
            assert "--token-file=/run/secrets/gleitzeit/token" in container["args"]
        mounted = [it for it in spec["volumes"] if "secret" in it]
        assert [it["name"] for it in mounted] == ["token"]


def test_pods_may_do_little(objects: list[Object]) -> None:
    for _, spec in pods(objects):
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_what_is_named_is_there(objects: list[Object]) -> None:
    labels = [found for found, _ in pods(objects)]

    def chosen(selector: Object) -> bool:
        return any(selector.items() <= found.items() for found in labels)

    for it in of_kind(objects, "Service"):
        assert chosen(it["spec"]["selector"]), it["metadata"]["name"]
    for it in of_kind(objects, "PodDisruptionBudget"):
        assert chosen(it["spec"]["selector"]["matchLabels"])
    for it in of_kind(objects, "NetworkPolicy"):
        assert chosen(it["spec"]["podSelector"]["matchLabels"])
    for it in of_kind(objects, "ServiceMonitor"):
        wanted = it["spec"]["selector"]["matchLabels"]
        found = [service for service in of_kind(objects, "Service") if wanted.items() <= service["metadata"]["labels"].items()]
        assert len(found) == 1, "the control plane is to be asked once"
        assert it["spec"]["endpoints"][0]["port"] in [port["name"] for port in found[0]["spec"]["ports"]]
    services = {it["metadata"]["name"]: {port["name"]: port for port in it["spec"]["ports"]} for it in of_kind(objects, "Service")}
    for it in of_kind(objects, "StatefulSet"):
        assert it["spec"]["serviceName"] in services
    for it in of_kind(objects, "HorizontalPodAutoscaler"):
        assert it["spec"]["scaleTargetRef"]["name"] in [d["metadata"]["name"] for d in of_kind(objects, "Deployment")]
    for it in of_kind(objects, "Ingress"):
        for path in it["spec"]["rules"][0]["http"]["paths"]:
            service = path["backend"]["service"]
            assert service["port"]["name"] in services[service["name"]]
    for it in of_kind(objects, "GRPCRoute") + of_kind(objects, "HTTPRoute"):
        for backend in it["spec"]["rules"][0]["backendRefs"]:
            assert backend["port"] in [port["port"] for port in services[backend["name"]].values()]
    maps = {it["metadata"]["name"] for it in of_kind(objects, "ConfigMap")}
    for _, spec in pods(objects):
        volumes = {it["name"]: it for it in spec["volumes"]}
        claimed = {it["metadata"]["name"] for s in of_kind(objects, "StatefulSet") for it in s["spec"].get("volumeClaimTemplates", [])}
        for volume in volumes.values():
            assert "configMap" not in volume or volume["configMap"]["name"] in maps
        for container in spec["containers"]:
            for mount in container["volumeMounts"]:
                assert mount["name"] in volumes or mount["name"] in claimed, mount


def test_the_alerts_find_their_job_under_any_name() -> None:
    for names in ({}, {"nameOverride": "flows"}, {"fullnameOverride": "flows"}):
        values = {"image": {"repository": "r"}, "metrics": {"serviceMonitor": {"enabled": True}}, **names}
        (monitor,) = of_kind(charts.render(CHART, values), "ServiceMonitor")
        assert "jobLabel" not in monitor["spec"]
        assert monitor["spec"]["endpoints"][0]["relabelings"] == [{"targetLabel": "job", "replacement": "gleitzeit"}]


def test_a_pod_that_does_not_get_ready_can_be_rolled_back(objects: list[Object]) -> None:
    (control_plane,) = of_kind(objects, "StatefulSet")
    assert control_plane["spec"]["podManagementPolicy"] == "Parallel"


def test_an_agent_is_ready_when_its_token_is_taken(objects: list[Object]) -> None:
    for deployment in of_kind(objects, "Deployment"):
        (agent,) = deployment["spec"]["template"]["spec"]["containers"]
        probe = agent["readinessProbe"]["exec"]["command"]
        assert probe[:2] == ["gleitzeit", "status"]
        # It asks where the agent asks, with what the agent shows.
        assert set(probe[2:]) == {word for word in agent["args"] if word.startswith(("--hub-url=", "--token-file="))}


def test_an_update_drains_within_the_grace_period(objects: list[Object]) -> None:
    assert [it["spec"]["replicas"] for it in of_kind(objects, "StatefulSet")] == [1]
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        (drain,) = [word for word in spec["containers"][0]["args"] if word.startswith("--drain-timeout=")]
        seconds = int(drain.removeprefix("--drain-timeout=").removesuffix("s"))
        assert spec["terminationGracePeriodSeconds"] >= seconds + 15
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_grpc_and_websocket_take_two_objects() -> None:
    objects = charts.render(CHART, values_of(CHART / "ci/everything-values.yaml"))
    grpc, mesh = of_kind(objects, "Ingress")
    protocol = "nginx.ingress.kubernetes.io/backend-protocol"
    assert grpc["metadata"]["annotations"][protocol] == "GRPC" and protocol not in mesh["metadata"]["annotations"]

    def paths(ingress: Object) -> set[str]:
        return {path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]}

    assert "/socket.io" in paths(mesh) and not paths(grpc) & paths(mesh)
    assert "/metrics" not in paths(mesh), "metrics are for those inside"
    # ingress-nginx refuses `Prefix` and `Exact` for anything but letters, digits, `/`, `_` and `-`.
    for ingress in (grpc, mesh):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            assert path["pathType"] == "ImplementationSpecific" or re.fullmatch(r"/[\w/-]*", path["path"], re.A), path
    # Every service of the API goes through, by ingress and by gateway.
    declared = set()
    for file in (ROOT / "proto/gleitzeit").rglob("*.proto"):
        text = file.read_text()
        package = re.search(r"^package (.+);", text, re.M)
        assert package
        declared |= {f"{package[1]}.{name}" for name in re.findall(r"^service (\w+)", text, re.M)}
    assert declared and {f"/{name}" for name in declared} <= paths(grpc)
    (route,) = of_kind(objects, "GRPCRoute")
    assert declared <= {match["method"]["service"] for match in route["spec"]["rules"][0]["matches"]}


def test_values_that_are_misspelt_or_missing_are_refused() -> None:
    for values, why in [
        ({}, "image.repository is empty"),
        ({"image": {"repository": "r", "tagg": "1"}}, "tagg"),
        ({"image": {"repository": "r"}, "controlPlane": {"retention": "a month"}}, "retention"),
        ({"image": {"repository": "r"}, "agents": {"a": {"roles": ["enigne"]}}}, "agents"),
        ({"image": {"repository": "r"}, "ingress": {"enabled": True}}, "ingress.host is empty"),
        ({"image": {"repository": "r"}, "ingress": {"pathType": "Exact"}}, "pathType"),
        ({"image": {"repository": "r"}, "agentDefaults": {"autoscaling": {"minReplicas": 0}}}, "minReplicas"),
        ({"image": {"repository": "r"}, "controlPlane": {"service": {"port": 8080}}}, "httpPort are both 8080"),
        ({"image": {"repository": "r"}, "gateway": {"enabled": True}}, "gateway.parentRefs is empty"),
    ]:
        with pytest.raises(charts.Refused, match=why):
            charts.render(CHART, values)


def test_every_value_is_described_and_every_description_has_a_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: Any, described: Object, place: str) -> None:
        if "$ref" in described:
            described = schema["definitions"][described["$ref"].rsplit("/", 1)[1]]
        if "properties" not in described:
            return
        assert set(values) == set(described["properties"]) - {"global"}, place
        for name, value in values.items():
            compare(value, described["properties"][name], f"{place}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "values")


def test_the_alerts_and_the_dashboard_are_those_of_the_observability_folder() -> None:
    objects = charts.render(CHART, values_of(CHART / "ci/everything-values.yaml"))
    (rule,) = of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "observability/alerts.yaml").read_text())
    (dashboard,) = [it for it in of_kind(objects, "ConfigMap") if it["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(dashboard["data"]["gleitzeit.json"])["uid"] == "gleitzeit"


def test_the_notes_say_the_next_command() -> None:
    text = charts.notes(CHART, values_of(CHART / "ci/minimal-values.yaml"))
    for command in re.findall(r"^ +gleitzeit (.+)$", text, re.M):
        check_command(command.split(), {})
    assert "gleitzeit submit" in text and "create secret generic gleitzeit-token" in text
