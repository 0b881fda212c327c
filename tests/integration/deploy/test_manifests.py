"""What is in deploy/: manifests against their schemas (KServe's in `tests/conformance`), and the image's command."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import session_guard
import waiting
import yaml
from serving_kit import NAME, digits, linear_classifier, publish, set_champion

from serving.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.33"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def check(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("manifest", documents("kubernetes.yaml"), ids=lambda manifest: manifest["kind"])
def test_kubernetes_accepts_the_manifest(manifest: dict[str, Any]) -> None:
    check(manifest)


def test_the_validator_would_notice() -> None:
    manifest = next(one for one in documents("kubernetes.yaml") if one["kind"] == "Deployment")
    manifest["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        check(manifest)


def test_the_parts_find_each_other() -> None:
    parts = {one["kind"]: one for one in documents("kubernetes.yaml")}
    deployment = parts["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert parts["Service"]["spec"]["selector"].items() <= labels.items()
    assert parts["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    target = parts["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    claims = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert [claim["claimName"] for claim in claims] == [parts["PersistentVolumeClaim"]["metadata"]["name"]]
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert {port["targetPort"] for port in parts["Service"]["spec"]["ports"]} == set(ports)
    (container,) = pod["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["MNISTFLOW_SERVE_GRPC_PORT"] == str(ports["grpc"])
    assert {container[probe]["grpc"]["port"] for probe in ("startupProbe", "readinessProbe")} == {ports["grpc"]}
    assert pod["terminationGracePeriodSeconds"] > Settings().drain_seconds + 3


@pytest.mark.parametrize("name", ["compose.yaml", "compose.team.yaml"])
def test_compose_accepts_the_file(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(DEPLOY / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (file,) = documents(name)
    services = file["services"]
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert {service["build"]["target"] for service in services.values() if "build" in service} <= set(targets)
    published = {port for service in services.values() for port in service.get("ports", [])}
    assert all(port.startswith("127.0.0.1:") for port in published - {"8443:443"})
    for service in services.values():
        assert set(service.get("depends_on", [])) <= services.keys()
        assert {one["source"] for one in service.get("configs", [])} <= file.get("configs", {}).keys()
        named = {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
        assert named <= file["volumes"].keys()


@pytest.mark.parametrize("name", ["compose.yaml", "compose.team.yaml"])
def test_mlflow_starts_no_job_workers(name: str) -> None:
    (file,) = documents(name)
    assert file["services"]["mlflow"]["environment"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_compose_states_no_secret_of_a_team() -> None:
    text = (DEPLOY / "compose.team.yaml").read_text()
    assert re.findall(r"(?:PASSWORD|SECRET_KEY|AUTH_STRING)\w*: (?!(?:admin:)?\$\{\w+:\?\})", text) == []
    assert not re.search(r"://mnistflow:(?!\$)", text)


@pytest.mark.parametrize(
    ("name", "servers", "trainers"),
    [
        ("compose.yaml", ["server"], ["schedule"]),
        ("compose.team.yaml", ["predictions-1", "predictions-2"], ["worker-1", "worker-2"]),
    ],
)
def test_servers_and_trainers_share_an_inference_log(name: str, servers: list[str], trainers: list[str]) -> None:
    (file,) = documents(name)
    parts = file["services"]
    (log,) = {parts[part]["environment"]["MNISTFLOW_SERVE_INFERENCE_LOG"] for part in servers + trainers}
    for part in trainers:
        asked = parts[part]["environment"]["MNISTFLOW_SERVER"].split()
        assert asked == [f"http://{server}:8000" for server in servers]
    if "://" in log:
        assert f"create database {log.rpartition('/')[2]};" in file["configs"]["databases"]["content"]
        assert {parts[part]["build"]["args"]["REQUIREMENTS"] for part in servers} == {"extras.lock"}
        return
    folder = str(Path(log).parent)
    for part in servers + trainers:
        assert f"inferences:{folder}" in parts[part]["volumes"]
        # A new volume gets its owner from the folder of the image.
        target = parts[part]["build"]["target"]
        assert any(folder in run.split() and "install -d -o 65532" in run for run in image(target)["RUN"])


def test_the_extras_of_the_server_have_the_driver_of_postgresql() -> None:
    extras = (ROOT / "serving/extras.lock").read_text()
    pipeline = (ROOT / "requirements.lock").read_text()
    (server,), (own,) = (re.findall(r"^psycopg==(\S+)", text, re.MULTILINE) for text in (extras, pipeline))
    assert server == own


def test_the_object_store_of_a_team_is_one_volume_with_its_bucket() -> None:
    (file,) = documents("compose.team.yaml")
    store = file["services"]["s3"]
    (folder,) = (argument.split("=")[1] for argument in store["command"] if argument.startswith("--data-dir="))
    # Parts of an upload are joined outside of the bucket, and renamed into it: that needs one file system.
    (volume,) = store["volumes"]
    assert volume.partition(":")[2] == folder
    bucket = file["services"]["mlflow"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"].split("/")[2]
    created = next(run for run in image("pipeline")["RUN"] if "install -d" in run).split()
    assert f"{folder.removeprefix('/opt/mnistflow/')}/{bucket}" in created


def test_the_gateway_of_a_team_starts_while_a_server_has_no_address() -> None:
    (file,) = documents("compose.team.yaml")
    text = file["configs"]["nginx"]["content"]
    servers = re.findall(r"^ *server (\S+):8000 (.*);$", text, re.MULTILINE)
    assert [name for name, _ in servers] == ["predictions-1", "predictions-2"]
    assert all("resolve" in options.split() for _, options in servers)
    assert "resolver 127.0.0.11 " in text
    assert "zone predictions " in text  # without it, nginx does not resolve again
    (major, minor) = map(int, file["services"]["nginx"]["image"].removeprefix("nginx:").split("."))
    assert (major, minor) >= (1, 28)  # `resolve` came with 1.27.3


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_github_accepts_the_workflow(workflow: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, str(workflow)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_workflow_gives_arguments_that_the_images_have() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())["jobs"].values()
    (build,) = (step["with"] for step in job["steps"] if "build-args" in step.get("with", {}))
    given = {line.partition("=")[0] for line in build["build-args"].split("\n") if line}
    text = (DEPLOY / "Containerfile").read_text()
    assert given <= set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))
    # The base is an argument of all stages that have one of their own.
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON}"}
    assert set(job["strategy"]["matrix"]["target"]) <= set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    for target in job["strategy"]["matrix"]["target"]:
        (labels,) = image(target)["LABEL"]
        assert 'org.opencontainers.image.revision="${REVISION}"' in labels


def image(target: str) -> dict[str, list[str]]:
    """Return the instructions of one stage of the Containerfile, by name, with lines joined."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    stage = re.split(r"^FROM ", text, flags=re.MULTILINE)
    (lines,) = [part.splitlines()[1:] for part in stage if part.splitlines()[0].endswith(f" AS {target}")]
    instructions: dict[str, list[str]] = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        instructions.setdefault(name, []).append(rest.strip())
    return instructions


@pytest.mark.parametrize("target", ["server", "server-packages", "pipeline"])
def test_what_the_images_copy_is_there_and_not_ignored(target: str) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for copied in image(target)["COPY"]:
        if not copied.startswith("--from"):
            for source in copied.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in allowed or source.split("/")[0] in allowed


def test_the_images_run_without_root_and_settings_exist() -> None:
    for target in ("server", "pipeline"):
        assert image(target)["USER"] == ["65532:65532"]
    names = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in vars(Settings())}
    pairs = dict(pair.split("=", 1) for pair in image("server")["ENV"][0].split())
    assert {name for name in pairs if name.startswith("MNISTFLOW")} <= names


@pytest.mark.slow
def test_the_servers_command_serves_with_what_the_image_copies(tmp_path: Path) -> None:
    """The same folder, command, user's environment and health check as in the container."""
    server = image("server")
    shutil.copytree(ROOT / "serving", tmp_path / "app/serving", ignore=shutil.ignore_patterns("__pycache__"))
    environment = dict(pair.split("=", 1) for pair in server["ENV"][0].split())
    images, labels = digits()
    publish(tmp_path / "models", 1, linear_classifier(images, labels), images)
    set_champion(tmp_path / "models", 1)
    overrides = {"MNISTFLOW_SERVE_REPOSITORY": str(tmp_path / "models"), "MNISTFLOW_SERVE_PORT": "0"}
    variables = {**environment, **overrides, "PATH": os.environ["PATH"], "HOME": str(tmp_path), **session_guard.mark()}
    (entrypoint,) = server["ENTRYPOINT"]
    process = subprocess.Popen(
        [sys.executable, *json.loads(entrypoint)[1:]],
        cwd=tmp_path / "app",
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        address = process.stdout.readline().split()[-1].replace("0.0.0.0", "127.0.0.1")
        assert waiting.get(f"{address}/v2/models/{NAME}").json()["name"] == NAME
        probe = re.search(r"CMD (\[.*\])", server["HEALTHCHECK"][0])
        assert probe
        program = json.loads(probe[1])[-1].replace("http://127.0.0.1:8000", address)
        subprocess.run([sys.executable, "-c", program], check=True)
    finally:
        process.terminate()
    assert process.wait() == 0


UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("needs systemd-analyze: apt-get install --no-install-recommends systemd")
    # systemd looks for the command, which is where the page installs it; and it wants an instance of a template.
    text, count = re.subn(
        r"^ExecStart=\S+/bin/mnistflow\S*", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE
    )
    assert count == 1
    copy = tmp_path / unit.name.replace("@.", "@follow.")
    copy.write_text(text)
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    # It reads the units of the machine as well, and warns of theirs.
    assert unit.stem not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_the_page_runs_the_first_retraining_as_the_unit_runs_commands() -> None:
    page = (ROOT / "docs/how-to/deploy.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"sudo (systemd-run .+)", page)
    unit = dict(re.findall(r"^(\w+)=(.+)$", (DEPLOY / "systemd/mnistflow@.service").read_text(), re.MULTILINE))
    options = dict(option.split("=", 1) for option in command.split() if "=" in option)
    assert options == {
        "--uid": unit["User"],
        "--property": f"EnvironmentFile={unit['EnvironmentFile']}",
        "--working-directory": unit["WorkingDirectory"],
        "--setenv": unit["Environment"],
    }
    assert command.endswith(unit["ExecStart"].replace("%i", "retrain"))


def test_settings_of_the_server_unit_exist() -> None:
    names = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in vars(Settings())}
    given = re.findall(r"^Environment=(\w+)=", (DEPLOY / "systemd/mnistflow-server.service").read_text(), re.MULTILINE)
    assert given
    assert set(given) <= names
    stop = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "systemd/mnistflow-server.service").read_text(), re.MULTILINE)
    assert stop
    assert int(stop[1]) > Settings().drain_seconds + 3
