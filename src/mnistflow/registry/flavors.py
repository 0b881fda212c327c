"""Flavours of a registered model: one MLflow model that loads as ONNX graph, as Python function, and as it was trained.

`mlflow.onnx` and `mlflow.pyfunc` load the exported graph, which is what servers run. `mlflow.keras` or `mlflow.sklearn`
loads the trained model, to continue its training. An ensemble is a graph only.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow import files

if TYPE_CHECKING:
    from mlflow.models import Model

MODEL_JSON = "model.json"
ONNX_FILE = "model.onnx"  # as `mlflow.onnx` calls it
KERAS_FILE = "data/model.keras"  # as `mlflow.keras` calls it
ERRORS_ONLY = 3  # severity of onnxruntime's log
PYFUNC_PACKAGES = ("mlflow", "onnx", "onnxruntime", "numpy")


def save_model(
    path: str, mlflow_model: Model, *, graph: Path, trained: Path | None, model_json: dict[str, Any], **settings: Any
) -> None:
    """Write a model with all its flavours into a new folder. `mlflow.models.Model.log` calls it.

    Args:
        path: the folder.
        mlflow_model: gets the flavours.
        graph: the ONNX file.
        trained: folder with the trained model in the format of its learner; None for none.
        model_json: the manifest, see `manifest.Manifest`.
        settings: signature and example, as `mlflow.onnx.save_model` takes them.
    """
    import mlflow
    import onnx
    import onnxruntime

    # MLflow runs the example in a session of its own, whose warnings, such as of unused constants, help nobody.
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    mlflow.onnx.save_model(
        onnx.load(graph),
        path,
        mlflow_model=mlflow_model,
        save_as_external_data=False,
        onnx_execution_providers=["CPUExecutionProvider"],
        pip_requirements=[f"{package}=={version(package)}" for package in PYFUNC_PACKAGES],
        **settings,
    )
    folder = Path(path)
    # MLflow has serialized the graph anew. Served, and loaded by every flavour, is the file that was evaluated.
    shutil.copyfile(graph, folder / ONNX_FILE)
    for file in sorted(trained.iterdir()) if trained else ():
        if add_flavor := _NATIVE.get(file.suffix):
            add_flavor(file, folder, mlflow_model)
    files.write_json(folder / MODEL_JSON, model_json)
    mlflow_model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    mlflow_model.save(str(folder / "MLmodel"))


def _add_keras(file: Path, folder: Path, model: Model) -> None:
    """Add the flavour as `mlflow.keras.save_model` writes it, without loading TensorFlow to read and write the file."""
    target = folder / KERAS_FILE
    data = target.parent
    data.mkdir()
    shutil.copyfile(file, target)
    (data / "keras_module.txt").write_text("keras", encoding="utf-8")
    settings = files.read_json(file.with_name("training.json"))["settings"]
    model.add_flavor(
        "keras",
        data=data.name,
        keras_version=version("keras"),
        keras_backend=settings["train.backend"],
        save_exported_model=False,
    )


def _add_sklearn(file: Path, folder: Path, model: Model) -> None:
    """Add the flavour as `mlflow.sklearn.save_model` does. joblib executes the file: it must come from this run."""
    import joblib

    target = folder / "model.pkl"
    with target.open("wb") as stream:
        pickle.dump(joblib.load(file), stream)
    model.add_flavor(
        "sklearn",
        pickled_model=target.name,
        sklearn_version=version("scikit-learn"),
        serialization_format="pickle",
        code=None,
    )


_NATIVE: dict[str, Callable[[Path, Path, Any], None]] = {".keras": _add_keras, ".joblib": _add_sklearn}
