"""Training on JAX and PyTorch: what works where they are installed, and the error where they are not."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkouts import QUICK, ROOT, Checkout, write_params

pytestmark = [pytest.mark.slow, pytest.mark.long]

BACKENDS = ("jax", "torch")

TRAINING = """
import sys
from pathlib import Path

import numpy as np

from flows.cli import app
from mnistflow import config, tasks
from mnistflow.data import catalog, prepare
from mnistflow.learners.fitting import supervised
from mnistflow.runtime import backend

name, params, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


class Killed(BaseException):
    pass


def main():
    small = {"prepare.train_limit": 200, "model.family": "mlp", "model.mlp.units": [8], "model.mlp.dropout": 0.5}
    options = {"model.mlp.batch_normalization": True, "train.ema": 0.9, "train.epochs": 3, "train.min_steps": 0}
    settings = config.load(params).with_values({**small, **options, "train.backend": name})
    backend.use(name)
    backend.load_tensorflow(0)
    entry = catalog.get("digits")
    entry.generate(folder)
    data = prepare.build(entry, settings.prepare, entry.read(folder))
    task = tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)

    def fit(checkpoint_folder=None, killed_after=None):
        def on_epoch(epoch, _):
            if epoch == killed_after:
                raise Killed

        return supervised.SupervisedFitting(
            task, signature, settings.model.chosen, settings.train, train=data.train, validation=data.validation,
            checkpoint_folder=checkpoint_folder,
        ).finish(on_epoch)

    try:
        fit(folder / "checkpoints", killed_after=1)
    except Killed:
        pass
    resumed, whole = fit(folder / "checkpoints"), fit()
    assert resumed.history == whole.history
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    whole.model.save(folder / "model.keras")
    np.save(folder / "expected.npy", whole.model.predict(data.test.inputs[:20], verbose=0))
    np.save(folder / "inputs.npy", data.test.inputs[:20])


app.run(main)
"""

EXPORT = """
import sys
from pathlib import Path

import numpy as np

from mnistflow import tasks
from mnistflow.export import export
from mnistflow.runtime import onnx_session
from mnistflow.learners.networks import Networks

folder = Path(sys.argv[1])
signature = tasks.get("image_classification").signature((28, 28), tuple("0123456789"))
proto = Networks().convert(Networks().load(folder), signature, opset=17)
export.save(proto, folder / "model.onnx", {})
outputs = onnx_session.predict(onnx_session.open_session(folder / "model.onnx"), np.load(folder / "inputs.npy"))
assert np.abs(outputs - np.load(folder / "expected.npy")).max() < 1e-4
"""


def require(backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; CONTRIBUTING.md says how to test with it")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_stage_has_a_process_of_its_own_and_finds_what_the_one_before_has_made(checkout: Checkout) -> None:
    require("jax")
    write_params(checkout, **{**QUICK, "train.backend": "jax", "tune.trials": "0"})
    done = checkout.run("retrain")
    assert "prepare: done" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_training_goes_on_and_tensorflow_exports_it(tmp_path: Path, backend: str) -> None:
    require(backend)
    done = run(TRAINING, backend, str(ROOT / "params.yaml"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    exported = run(EXPORT, str(tmp_path))
    assert exported.returncode == 0, exported.stderr


def test_a_missing_backend_ends_a_retraining_at_once_in_one_line(checkout: Checkout) -> None:
    missing = next((backend for backend in BACKENDS if find_spec(backend) is None), None)
    if missing is None:
        pytest.skip("every backend is installed")
    write_params(checkout, **{**QUICK, "train.backend": missing, "tune.trials": "0"})
    done = checkout.run("retrain", check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: train.backend: {missing} is not installed. Install it with `.venv/bin/uv pip install --python "
        f".venv/bin/python --require-hashes -r requirements-{missing}.lock`, or set train.backend to tensorflow.\n"
    )
