"""Environment variables of the tools used: quiet, no usage statistics, all but temporary files in the checkout.

What the user has set in the environment wins.
"""

import os

from mnistflow.paths import Paths

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_SITE_CACHE_DIR": "{home}/var/dvc/site",
    "DVC_GLOBAL_CONFIG_DIR": "{home}/var/dvc/config",
    "KERAS_HOME": "{home}/var/keras",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_TRACKING_URI": "sqlite:///{home}/var/mlflow/mlflow.db",
    "MNISTFLOW_SERVE_INFERENCE_LOG": "{home}/var/inferences.db",
    "MPLCONFIGDIR": "{home}/var/matplotlib",
    # OpenMP's threads, of scikit-learn and PyTorch, spin while they wait: 5 times as long on a busy machine. It is read
    # when the first library that brings OpenMP is loaded.
    "OMP_WAIT_POLICY": "passive",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_HOME": "{home}/var/prefect",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def configure(paths: Paths) -> None:
    """Set every default that the environment does not name."""
    for name, template in DEFAULTS.items():
        os.environ.setdefault(name, template.format(home=paths.checkout))
    paths.mlflow.mkdir(parents=True, exist_ok=True)
