"""Environment variables reference: those of the pipeline and the defaults that it sets for other tools."""

import markup

from mnistflow.environment import DEFAULTS, KNOWN


def page() -> str:
    """Return the page."""
    own = [(markup.code(name), meaning) for name, meaning in KNOWN.items()]
    defaults = [(markup.code(name), markup.code(value.format(home="."))) for name, value in DEFAULTS.items()]
    return markup.page(
        "Environment variables",
        "src/mnistflow/environment.py",
        markup.table(["variable", "meaning"], own),
        "The variables of the server, `MNISTFLOW_SERVE_...`, are its [settings](server-settings.md).",
        "## Defaults for other tools",
        "Set by every command unless the environment has a value. `.` is the checkout.",
        markup.table(["variable", "default"], defaults),
    )
