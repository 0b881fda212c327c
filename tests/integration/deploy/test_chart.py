"""The Helm chart: rendered by Helm's own engine with several sets of values, against Kubernetes' schemas."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from serving.settings import ENVIRONMENT_PREFIX, Settings

helm = pytest.importorskip("helm_python", reason="needs helm-python-sdk, of which only Linux on x86-64 has a wheel")

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/chart"
PAGE = ROOT / "docs/how-to/deploy.md"
RELEASE = "digits"
KUBERNETES = "1.33"
OPERATOR = "monitoring.coreos.com/v1"  # of Prometheus: its kinds are not Kubernetes' own
DIGEST = "sha256:" + 64 * "a"

EVERYTHING = {
    "images": {"server": {"repository": "registry.example/server", "digest": DIGEST}, "pullSecrets": ["registry"]},
    "server": {
        "settings": {"MNISTFLOW_SERVE_QUEUE_SECONDS": 2, "MNISTFLOW_SERVE_LOG_FORMAT": "json"},
        "keys": [{"secret": "client-a", "key": "api-key"}, {"secret": "client-b", "key": "api-key"}],
        "adminKeys": [{"secret": "admin", "key": "api-key"}],
        "grpc": True,
        "tlsSecret": "server-tls",
        "autoscaling": {"metric": "requestsInFlight"},
        "maxUnavailable": "25%",
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "digits.example",
        "tlsSecret": "digits-tls",
        "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
    },
    "mlflow": {
        "databaseSecret": "mlflow-database",
        "artifactsDestination": "s3://bucket/mlflow",
        "artifactsSecret": "bucket",
        "authSecret": "mlflow-users",
        "clientSecret": "mlflow-client",
    },
    "prefect": {"databaseSecret": "prefect-database", "authSecret": "prefect-auth", "clientSecret": "prefect-client"},
    "inferenceLog": {"secret": "inference-log"},
    "trainers": {"workers": 2, "job": {"claim": "dvc-cache", "monitorClaim": "monitor", "secret": "dvc"}},
    "networkPolicy": {"clients": {"kubernetes.io/metadata.name": "ingress-nginx"}},
    "follow": {"datasets": ["digits"]},
    "monitoring": {
        "serviceMonitor": True,
        "prometheusRule": True,
        "dashboards": True,
        "key": {"secret": "prometheus", "key": "api-key"},
        "labels": {"release": "prometheus"},
    },
}
ELSEWHERE = {
    "mlflow": {"enabled": False, "trackingUri": "https://mlflow.example"},
    "prefect": {"enabled": False, "apiUrl": "https://prefect.example/api"},
}
SERVERS_ALONE = {
    "mlflow": {"enabled": False, "trackingUri": "https://mlflow.example"},
    "prefect": {"enabled": False},
    "trainers": {"enabled": False},
    "networkPolicy": {"enabled": False},
}
SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "elsewhere": ELSEWHERE,
    "servers alone": SERVERS_ALONE,
}


def render(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(dict(values), name=RELEASE, namespace="models")
    documents = (yaml.safe_load_all(text) for name, text in rendered.items() if not name.endswith("NOTES.txt"))
    return [one for parts in documents for one in parts if one]


@pytest.fixture(scope="module", params=SETS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(SETS[request.param])


@pytest.fixture(scope="module")
def everything() -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in render(EVERYTHING)}


def pods(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in manifests:
        if one["kind"] in ("Deployment", "Job"):
            yield one["spec"]["template"]["spec"]
        if "base-job-template.json" in one.get("data", {}):
            yield trainer(one)["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def trainer(template: dict[str, Any]) -> dict[str, Any]:
    """Return the Job that Prefect makes of the template of a work pool."""
    configuration = json.loads(template["data"]["base-job-template.json"])["job_configuration"]
    job: dict[str, Any] = configuration["job_manifest"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (job["metadata"]["labels"], container["args"]) == ("{{ labels }}", "{{ command }}")
    assert [one["name"] for one in container["env"]] == ["MLFLOW_TRACKING_URI"]
    job["metadata"]["labels"] = {}
    container["args"] = ["prefect", "flow-run", "execute"]
    return job


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_helm_lints_the_chart(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True, namespace="models")
    # The icon of a chart is shown in catalogues only.
    assert [one for one in report["messages"] if "icon is recommended" not in one["error"]] == []


def test_kubernetes_accepts_what_is_rendered(manifests: list[dict[str, Any]]) -> None:
    assert manifests
    for one in manifests:
        if one["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
        if "base-job-template.json" in one.get("data", {}):
            kubernetes_validate.validate(trainer(one), KUBERNETES, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)


def test_no_secret_is_in_the_chart_and_no_pod_may_write_to_its_image(manifests: list[dict[str, Any]]) -> None:
    assert not any(one["kind"] == "Secret" for one in manifests)
    for pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["enableServiceLinks"] is False
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_parts_find_each_other(manifests: list[dict[str, Any]]) -> None:
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in manifests
        if one["kind"] == "Deployment"
    }
    ports = {
        (one["metadata"]["name"], port["name"])
        for one in manifests
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    claims = {one["metadata"]["name"] for one in manifests if one["kind"] == "PersistentVolumeClaim"}
    for one in manifests:
        name = one["metadata"]["name"]
        if one["kind"] == "Deployment":
            assert one["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
        if one["kind"] == "Service":
            assert one["spec"]["selector"].items() <= labels[name].items()
            assert {(name, port["targetPort"]) for port in one["spec"]["ports"]} <= ports
        if one["kind"] == "PodDisruptionBudget":
            assert one["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
        if one["kind"] == "HorizontalPodAutoscaler":
            assert one["spec"]["scaleTargetRef"]["name"] in labels
        if one["kind"] == "NetworkPolicy":
            selected = one["spec"]["podSelector"]["matchLabels"]
            is_of_jobs = selected["app.kubernetes.io/component"] in ("run", "deployments")
            assert is_of_jobs or selected.items() <= labels[name].items()
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(manifests)
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used - {"dvc-cache", "monitor"} <= claims


def test_every_pod_has_a_policy_of_where_it_may_connect_to(manifests: list[dict[str, Any]]) -> None:
    policies = {
        one["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: one["spec"]
        for one in manifests
        if one["kind"] == "NetworkPolicy"
    }
    if not policies:  # networkPolicy.enabled is false
        return
    templates = [one["spec"]["template"] for one in manifests if one["kind"] in ("Deployment", "Job")]
    templates += [
        trainer(one)["spec"]["template"] for one in manifests if "base-job-template.json" in one.get("data", {})
    ]
    assert policies.keys() == {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in templates}
    for component, policy in policies.items():
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert ("ingress" in policy) == (component in ("server", "mlflow", "prefect"))
        assert {"port": 53, "protocol": "UDP"} in policy["egress"][0]["ports"]


def test_servers_and_runs_share_an_inference_log() -> None:
    rendered = render({"inferenceLog": {"secret": "log"}, "trainers": {"job": {"monitorClaim": "monitor"}}})
    server = next(one for one in rendered if is_server(one))["spec"]["template"]["spec"]["containers"][0]
    (template,) = (one for one in rendered if "base-job-template.json" in one.get("data", {}))
    pod = trainer(template)["spec"]["template"]["spec"]
    for container in (server, *pod["containers"]):
        assert {"secretRef": {"name": "log"}} in container["envFrom"]
    (state,) = (one["mountPath"] for one in pod["containers"][0]["volumeMounts"] if one["name"] == "monitor")
    assert state == "/opt/mnistflow/var/monitor"
    assert {"name": "monitor", "persistentVolumeClaim": {"claimName": "monitor"}} in pod["volumes"]
    policies = {one["metadata"]["name"]: one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"}
    database = {"ports": [{"port": 5432, "protocol": "TCP"}]}
    assert database in policies[f"{RELEASE}-mnistflow-server"]["egress"]


def test_a_log_needs_a_claim_for_the_state_of_the_monitoring() -> None:
    with pytest.raises(helm.HelmError, match=r"trainers\.job\.monitorClaim is needed"):
        render({"inferenceLog": {"secret": "log"}})
    assert render({"inferenceLog": {"secret": "log"}, **SERVERS_ALONE})


def registration(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the Job that registers the deployments."""
    (job,) = (one for one in manifests if one["kind"] == "Job")
    return job


def test_helm_starts_the_registration_before_it_waits_for_a_champion() -> None:
    job = registration(render({}))
    assert "annotations" not in job["metadata"]  # no hook
    # A Job cannot be changed, so another one has another name.
    names = {
        registration(render(values))["metadata"]["name"]
        for values in ({}, {"images": {"pipeline": {"tag": "0.2.0"}}}, {"trainers": {"job": {"ttlSeconds": 60}}})
    }
    assert len(names) == 3
    assert registration(render({}))["metadata"]["name"] == job["metadata"]["name"]
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render({}, name="mnistflow-" + 40 * "n", namespace="models")
    (long,) = (text for name, text in rendered.items() if name.endswith("trainers/deployments.yaml"))
    assert len(yaml.safe_load(long)["metadata"]["name"]) <= 63


def test_a_server_serves_what_its_follower_fetches(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    pod = everything["Deployment", f"{RELEASE}-mnistflow-server"]["spec"]["template"]["spec"]
    first, follow, server = containers(pod)
    assert first["args"] == ["mnistflow", "follow", "--once", "--dataset", "digits"]
    assert (follow["args"], follow["restartPolicy"]) == (["mnistflow", "follow", "--dataset", "digits"], "Always")
    (written,) = (mount["mountPath"] for mount in follow["volumeMounts"] if mount["name"] == "repository")
    (read,) = (mount for mount in server["volumeMounts"] if mount["name"] == "repository")
    assert (written, read["subPath"], read["readOnly"]) == ("/opt/mnistflow/var", "models", True)
    variables = {one["name"]: one.get("value") for one in server["env"]}
    assert variables["MNISTFLOW_SERVE_REPOSITORY"] == read["mountPath"]
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in vars(Settings())}
    assert {name for name in variables if name.startswith(ENVIRONMENT_PREFIX)} <= known
    # Those of `server.keys`, and Prometheus' own.
    assert variables["MNISTFLOW_SERVE_KEYS"] == "$(CLIENT_KEY_0),$(CLIENT_KEY_1),$(CLIENT_KEY_2)"
    assert variables["MNISTFLOW_SERVE_ADMIN_KEYS"] == "$(ADMIN_KEY_0)"
    # Kubernetes replaces names in a value by variables that come before it.
    order = [one["name"] for one in server["env"]]
    assert order.index("CLIENT_KEY_2") < order.index("MNISTFLOW_SERVE_KEYS")
    assert server["image"] == f"registry.example/server@{DIGEST}"
    assert pod["terminationGracePeriodSeconds"] > Settings().drain_seconds + 3


def test_what_is_chosen_is_there(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    name = f"{RELEASE}-mnistflow-server"
    ingress = everything["Ingress", name]["spec"]
    assert ingress["tls"] == [{"hosts": ["digits.example"], "secretName": "digits-tls"}]
    (metric,) = everything["HorizontalPodAutoscaler", name]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "mnistflow_requests_in_flight"
    (endpoint,) = everything["ServiceMonitor", name]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "prometheus", "key": "api-key"}
    rules = everything["PrometheusRule", name]["spec"]
    assert rules == yaml.safe_load((CHART / "monitoring/rules.yaml").read_text())
    boards = everything["ConfigMap", f"{RELEASE}-mnistflow-dashboards"]["data"]
    assert boards == {path.name: path.read_text() for path in (CHART / "monitoring/dashboards").glob("*.json")}
    server = everything["Deployment", name]["spec"]["template"]["spec"]
    assert {one["topologyKey"] for one in server["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }


@pytest.mark.parametrize(
    ("keys", "accepted"),
    [([], []), (["client"], ["client", "prometheus"]), (["prometheus", "client"], ["prometheus", "client"])],
    ids=["open", "closed", "listed"],
)
def test_servers_with_keys_accept_that_of_prometheus(keys: list[str], accepted: list[str]) -> None:
    values = {
        "server": {"keys": [{"secret": name, "key": "api-key"} for name in keys]},
        "monitoring": {"serviceMonitor": True, "key": {"secret": "prometheus", "key": "api-key"}},
    }
    (pod,) = (one["spec"]["template"]["spec"] for one in render(values) if is_server(one))
    (server,) = pod["containers"]
    secrets = [one["valueFrom"]["secretKeyRef"]["name"] for one in server["env"] if "valueFrom" in one]
    assert secrets == accepted


def is_server(manifest: dict[str, Any]) -> bool:
    return (manifest["kind"], manifest["metadata"]["name"]) == ("Deployment", f"{RELEASE}-mnistflow-server")


def test_an_upgrade_updates_the_work_pool(prefect_api: str, tmp_path: Path) -> None:
    pool = {"name": "upgraded", "type": "kubernetes", "concurrency_limit": 3}
    httpx.post(f"{prefect_api}/work_pools/", json=pool).raise_for_status()
    rendered = {(one["kind"], one["metadata"]["name"]): one for one in render({"trainers": {"workPool": "upgraded"}})}
    template = rendered["ConfigMap", f"{RELEASE}-mnistflow-trainers"]["data"]["base-job-template.json"]
    (tmp_path / "base-job-template.json").write_text(template)
    pod = registration(list(rendered.values()))["spec"]["template"]["spec"]
    command = [argument.replace("/etc/prefect", str(tmp_path)) for argument in pod["initContainers"][0]["args"]]

    try:
        subprocess.run(command, env={**os.environ, "PREFECT_API_URL": prefect_api}, check=True)
        updated = httpx.get(f"{prefect_api}/work_pools/upgraded").json()
    finally:
        httpx.delete(f"{prefect_api}/work_pools/upgraded")
    assert (updated["base_job_template"], updated["concurrency_limit"]) == (json.loads(template), 3)


def test_the_page_creates_the_secrets_that_its_values_name() -> None:
    page = PAGE.read_text(encoding="utf-8")
    (values,) = re.findall(r"^```yaml\n# values.yaml .*\n([^`]+)```$", page, re.MULTILINE)
    rendered = json.dumps(render(yaml.safe_load(values)))
    named = re.findall(r'"(?:secretKeyRef|secretRef)": {[^}]*"name": "([^"]+)"', rendered)
    named += re.findall(r'"secretName": "([^"]+)"', rendered)
    created = re.findall(r"kubectl -n models create secret (?:generic|tls) ([\w-]+)", page)
    created += [name for names in re.findall(r"for name in ([^;]+); do kubectl", page) for name in names.split()]
    assert set(named) == set(created)


@pytest.mark.parametrize(
    ("values", "probe", "ports"),
    [
        ({}, {"httpGet": "HTTP"}, {"http": 80}),
        ({"grpc": True}, {"grpc": {"port": 8001}}, {"http": 80, "grpc": 8001}),
        ({"grpc": True, "tlsSecret": "server-tls"}, {"httpGet": "HTTPS"}, {"http": 443, "grpc": 8001}),
    ],
    ids=["HTTP", "gRPC", "TLS"],
)
def test_probes_ask_what_is_served(values: dict[str, Any], probe: dict[str, Any], ports: dict[str, int]) -> None:
    rendered = {(one["kind"], one["metadata"]["name"]): one for one in render({"server": values})}
    name = f"{RELEASE}-mnistflow-server"
    pod = rendered["Deployment", name]["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    for ready in (server["startupProbe"], server["readinessProbe"]):
        asked = {key: ready[key] for key in ("grpc", "httpGet") if key in ready}
        assert {key: one.get("scheme", one) for key, one in asked.items()} == probe
    service = {port["name"]: port for port in rendered["Service", name]["spec"]["ports"]}
    assert {key: port["port"] for key, port in service.items()} == ports
    (allowed, *_) = rendered["NetworkPolicy", name]["spec"]["ingress"]
    assert len(allowed["ports"]) == len(ports)
    variables = {one["name"]: one.get("value") for one in server["env"]}
    assert ("MNISTFLOW_SERVE_GRPC_PORT" in variables) == ("grpc" in ports)
    if secret := values.get("tlsSecret"):
        (volume,) = (one for one in pod["volumes"] if one["name"] == "tls")
        (mount,) = (one for one in server["volumeMounts"] if one["name"] == "tls")
        assert volume["secret"] == {"secretName": secret}
        assert variables["MNISTFLOW_SERVE_TLS_CERT"] == f"{mount['mountPath']}/tls.crt"
        assert variables["MNISTFLOW_SERVE_TLS_KEY"] == f"{mount['mountPath']}/tls.key"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"server": {"replica": 3}}, "replica"),
        ({"ingress": {"enabled": True, "host": "digits.example"}}, "tlsSecret"),
        ({"mlflow": {"trackingUri": "https://me:secret@mlflow.example"}}, "trackingUri"),
        ({"server": {"settings": {"MNISTFLOW_SERVE_KEYS": "secret"}}}, "MNISTFLOW_SERVE_KEYS"),
        ({"server": {"settings": {"MNISTFLOW_SERVE_INFERENCE_LOG": "postgresql://"}}}, "MNISTFLOW_SERVE_INFERENCE_LOG"),
        ({"server": {"keys": ["secret"]}}, "keys"),
        ({"images": {"server": {"digest": "latest"}}}, "digest"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(helm.HelmError, match=problem):
        render(values)
