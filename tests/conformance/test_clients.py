"""Clients that others make, unmodified, talk to the server, and KServe's models read its manifests."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import serving_kit as kit
from cluster import free_port

pytestmark = [pytest.mark.slow, pytest.mark.long]

FOLDER = Path(__file__).parent

EXCEPTIONS = """
# What is unloaded would answer nobody any more.
[[operations]]
include-operation-id = "unload"
[operations.parameters]
model = "nothing"

# Most bodies that fit the schema fit no model, picture or entry of the log: that is not for the schema to say.
[[operations]]
include-path-regex = "/(infer|invocations|predict(/[^/]+)?|feedback(/reviews)?)$"
[operations.checks]
positive_data_acceptance.enabled = false
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder of the programs of an environment of their own: their requirements are not those of the rest."""
    folder = tmp_path_factory.mktemp("clients") / "venv"
    uv = (sys.executable, "-m", "uv")
    install = (*uv, "pip", "install", "-q", "--python", str(folder / "bin/python"), "--require-hashes")
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([*install, "-r", str(FOLDER / "clients.lock")], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def grpc_port():
    return free_port()


@pytest.fixture(scope="module")
def admin_server(tmp_path_factory, images, classifiers, grpc_port):
    repository = tmp_path_factory.mktemp("models")
    for version, classifier in classifiers.items():
        kit.publish(repository, version, classifier, images)
    kit.set_champion(repository, 2)
    arguments = ("--grpc-port", str(grpc_port), "--inference-log", str(repository / "inferences.db"))
    with kit.Server(repository, *arguments, MNISTFLOW_SERVE_ADMIN_KEYS="admin") as running:
        yield running


@pytest.mark.parametrize(
    "names",
    [
        ("triton_http", "triton_http_asyncio", "triton_grpc", "triton_grpc_asyncio"),
        ("kserve_http", "kserve_grpc", "open_inference"),
    ],
    ids=["tritonclient", "others"],
)
def test_clients_get_what_the_model_computes(programs, admin_server, grpc_port, images, classifiers, tmp_path, names):
    file = tmp_path / "expected.npz"
    expected = {f"probabilities{version}": model.probabilities(images) for version, model in classifiers.items()}
    np.savez(file, images=images, **expected)
    arguments = (admin_server.url, f"127.0.0.1:{grpc_port}", kit.NAME, str(file))

    command = [programs / "python", FOLDER / "clients.py", *arguments, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["server", "protocol"])
def described(request, programs, admin_server):
    """Return an OpenAPI document: the server's own, or the protocol's."""
    if request.param == "server":
        return admin_server.client.get("/openapi.json").json()
    return json.loads(subprocess.check_output([programs / "python", FOLDER / "protocol.py"]))


def test_the_endpoints_are_as_openapi_describes_them(described, programs, admin_server, images, tmp_path):
    """Valid and invalid requests made from the description; with examples, so that some of them reach the model."""
    examples = {
        "/v2/models/{model}/infer": kit.inference_request(images[:1]),
        "/v2/models/{model}/versions/{version}/infer": kit.inference_request(images[:2]),
        "/invocations": {"instances": images[:1].tolist()},
    }
    for path in examples.keys() & described["paths"].keys():
        described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"] = examples[path]
    (tmp_path / "openapi.json").write_text(json.dumps(described))
    (tmp_path / "schemathesis.toml").write_text(f'[parameters]\nmodel = "{kit.NAME}"\nversion = "1"\n{EXCEPTIONS}')
    command = [programs / "schemathesis", "run", "openapi.json", "--url", admin_server.url, "--max-examples", "5"]
    options = ["--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color", "--warnings", "off"]
    headers = ["--header", "Authorization: Bearer admin"]
    done = subprocess.run([*command, *options, *headers], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-8000:]
    assert admin_server.client.get(f"/v2/models/{kit.NAME}/ready").is_success
    counted = admin_server.client.get(f"/v2/models/{kit.NAME}/stats").json()["model_stats"]
    assert counted and all(entry["inference_count"] for entry in counted)


def test_kserve_knows_all_that_its_manifests_say(programs, tmp_path):
    manifests = FOLDER.parents[1] / "deploy/kserve.yaml"
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(manifests.read_text().replace("minReplicas", "minReplica"))

    command = [programs / "python", FOLDER / "kserve_manifests.py", manifests, misspelt]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [misspelt.name]
