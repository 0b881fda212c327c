"""Environment variables: those of this project, and defaults for the tools used.

The defaults make the tools quiet, switch off usage statistics, and keep all but temporary files in the checkout. What
the user has set in the environment wins; an empty value, as compose files and `EnvironmentFile` leave it, counts as
unset.

Besides this module, some others write variables of their process: `flows.__main__` owns `PYDANTIC_DISABLE_PLUGINS`,
`flows.orchestration.api_server` owns `PREFECT_API_URL`, `flows.orchestration.temporary_server` those of its server,
`mnistflow.runtime.backend` owns Keras's backend and threads, and `mnistflow.workers.dask` gives a Dask worker the
variables of the search that it works for.
"""

import difflib
import os
import re
from collections.abc import Mapping

from mnistflow.checkout import relocation
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths

PREFIX = "MNISTFLOW_"
SERVER_PREFIX = "MNISTFLOW_SERVE_"  # settings of the prediction server, which checks their names itself
RETRY_DELAYS = "MNISTFLOW_RETRY_DELAYS"
TRACKING_URI = "MLFLOW_TRACKING_URI"
INFERENCE_LOG = "MNISTFLOW_SERVE_INFERENCE_LOG"  # a setting of the server, which the pipeline reads too
SIGNING_KEY = "MNISTFLOW_SIGNING_KEY"
PUBLIC_KEY = "MNISTFLOW_SERVE_PUBLIC_KEY"  # a setting of the server, by which `mnistflow verify` checks too
NOTIFY_WEBHOOK = "MNISTFLOW_NOTIFY_WEBHOOK"
NOTIFY_EMAIL = "MNISTFLOW_NOTIFY_EMAIL"
NOTIFY_SMTP = "MNISTFLOW_NOTIFY_SMTP"
KNOWN = {
    "MNISTFLOW_MIRRORS": "folders and URLs of data sets, separated by spaces; used instead of fetch.mirrors",
    SIGNING_KEY: "file with a private key (PEM) on the curve P-256, P-384 or P-521, which signs each new version",
    RETRY_DELAYS: "seconds before each retry of a flow's step, separated by spaces",
    NOTIFY_WEBHOOK: "webhook (Slack's format) notified of failed runs, drift, and models promoted, rejected, withdrawn",
    NOTIFY_EMAIL: "e-mail addresses notified of the same events, separated by commas",
    NOTIFY_SMTP: "their mail server: smtp://user:password@host:port or smtps://...; by default, smtp://localhost:25",
    "MNISTFLOW_SERVER": "addresses of the prediction servers that `mnistflow status` queries, separated by spaces",
}
DEFAULT_RETRY_DELAYS = (2.0, 10.0, 30.0, 60.0)  # together more than an outage of a minute

# Kubernetes sets these in every container beside a service called "mnistflow".
_OF_KUBERNETES = re.compile(r"MNISTFLOW(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_SITE_CACHE_DIR": "{home}/var/dvc/site",
    "DVC_GLOBAL_CONFIG_DIR": "{home}/var/dvc/config",
    "KERAS_HOME": "{home}/var/keras",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # While MLflow logs a model, it records which variables are read, in a set that it iterates over while other threads
    # read some: "Set changed size during iteration".
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    # It prints two lines when a run ends, also into what commands print as JSON.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    TRACKING_URI: "sqlite:///{home}/var/mlflow/mlflow.db",
    INFERENCE_LOG: "{home}/var/inferences.db",
    "MPLCONFIGDIR": "{home}/var/matplotlib",
    # OpenMP's threads, of scikit-learn and PyTorch, spin while they wait: 5 times as long on a busy machine. It is read
    # when the first library that brings OpenMP is loaded.
    "OMP_WAIT_POLICY": "passive",
    "ORT_DISABLE_TELEMETRY": "1",
    # A run survives a restart of Prefect's server: its client goes on trying for four minutes, and the server finds the
    # lease of the run's place again, below PREFECT_HOME.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_HOME": "{home}/var/prefect",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "flows.orchestration.lease_storage",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


# Schemes of MLflow's own stores; packages register others as entry points.
_MLFLOW_SCHEMES = frozenset(
    ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc")
)
_SCHEME = re.compile(r"([a-zA-Z][\w-]*)(?:\+\w+)?(?::|$)")  # `databricks` alone is one, too


def configure(paths: Paths) -> None:
    """Set every default that the environment does not name, and let `var/` lead to where it is now.

    Raises:
        ConfigError: MLflow has no store of the kind that `MLFLOW_TRACKING_URI` names.
        RegistryError: `var/` was moved, and what leads to its former place cannot be corrected.
    """
    for name, template in DEFAULTS.items():
        # An empty name of an inference log is a setting: it turns the log off.
        if not os.environ.get(name) and not (name == INFERENCE_LOG and name in os.environ):
            os.environ[name] = template.format(home=paths.checkout)
    _check_tracking_uri(tracking_uri())
    paths.mlflow.mkdir(parents=True, exist_ok=True)
    relocation.correct(paths)


def inference_log() -> str:
    """Return the path or URL of the inference log; `configure` has set its default."""
    return os.environ[INFERENCE_LOG]


def tracking_uri() -> str:
    """Return the location of MLflow's store; `configure` has set its default."""
    return os.environ[TRACKING_URI]


def _check_tracking_uri(uri: str) -> None:
    """Raise ConfigError for a location that MLflow's client would refuse with a traceback.

    The message does not repeat the location, which may contain a password, except for a folder.
    """
    found = _SCHEME.match(uri)
    scheme = found[1].lower() if found else ""
    if scheme in _MLFLOW_SCHEMES:
        return
    if scheme in ("", "file") or ":" not in uri:
        # MLflow's switch for those who keep such a store.
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
            return
        raise ConfigError(
            f"{TRACKING_URI}={uri} is a folder, and MLflow no longer keeps runs in folders",
            "Unset it to use var/mlflow, or copy the folder by `mlflow migrate-filestore` and name the database: "
            "sqlite:////PATH/mlflow.db.",
        )
    from importlib.metadata import entry_points  # slow to import, and few commands get this far

    if scheme not in {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}:
        raise ConfigError(
            f"{TRACKING_URI} begins with {scheme}:, of which MLflow has no store",
            "Write postgresql://..." if scheme == "postgres" else "Write http(s)://, sqlite:/// or postgresql://...",
        )


def misspelt(environ: Mapping[str, str]) -> str:
    """Return one line about the variables with this project's prefix that nothing reads; empty if there are none."""
    unknown = [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in KNOWN and not name.startswith(SERVER_PREFIX)
    ]
    hints = [_hint(name) for name in unknown if not _OF_KUBERNETES.fullmatch(name)]
    return f"nothing reads the environment variable {'; nor '.join(hints)}" if hints else ""


def _hint(name: str) -> str:
    similar = difflib.get_close_matches(name, [*KNOWN, SERVER_PREFIX], n=1)
    known = f"{SERVER_PREFIX}..." if similar == [SERVER_PREFIX] else "".join(similar)
    return f"{name} (did you mean {known}?)" if known else f"{name} (known: {', '.join(KNOWN)})"


def is_stage_of_dvc(environ: Mapping[str, str]) -> bool:
    """Return whether DVC executes this process as the command of a stage."""
    return environ.keys() >= {"DVC_STAGE", "DVC_ROOT"}


def retry_delays() -> tuple[float, ...]:
    """Return the seconds before each further attempt of a flow's step.

    Raises:
        ConfigError: `MNISTFLOW_RETRY_DELAYS` is not a list of numbers.
    """
    text = os.environ.get(RETRY_DELAYS)
    if text is None:
        return DEFAULT_RETRY_DELAYS
    try:
        delays = tuple(float(part) for part in text.split())
    except ValueError:
        delays = (-1.0,)
    if not all(0 <= delay < float("inf") for delay in delays):
        raise ConfigError(f"{RETRY_DELAYS}={text!r} is not a list of seconds", "Write for example 2 10 30 60.")
    return delays
