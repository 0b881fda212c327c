"""Context of a command: the checkout, its configuration, and the environment of the tools used."""

from mnistflow import config, environment
from mnistflow.config import Config
from mnistflow.paths import Paths


def load_context(overrides: list[str] | None = None) -> tuple[Paths, Config]:
    """Find the checkout, load its configuration, and set the environment of the tools used.

    Raises:
        ConfigError: no checkout, or params.yaml or an override is not valid.
    """
    paths = Paths.locate()
    environment.configure(paths)
    settings = config.load(paths.params)
    if overrides:
        settings = settings.with_values(config.parse_overrides(overrides))
    return paths, settings
