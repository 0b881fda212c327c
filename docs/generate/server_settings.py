"""Server settings reference: every option of `mnistflow-serve`, from the annotations of `serving.settings.Settings`."""

from dataclasses import fields
from typing import get_type_hints

import markup

from serving.settings import ENVIRONMENT_PREFIX, Settings


def page() -> str:
    """Return the page."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = {entry.name: entry.default for entry in fields(Settings)}
    rows = []
    for name, hint in hints.items():
        setting = hint.__metadata__[0]
        limits = [f"at least {setting.minimum}"] if setting.minimum is not None else []
        limits += [f"one of {', '.join(setting.choices)}"] if setting.choices else []
        kind = ", ".join([hint.__origin__.__name__, *limits])
        option = markup.code(f"--{name.replace('_', '-')}")
        rows.append((option, markup.code(str(defaults[name])), markup.with_type(setting.meaning, kind)))
    return markup.page(
        "Server settings",
        "serving/settings.py",
        "Each setting is an option of `mnistflow-serve` and an environment variable: `--max-rows` is "
        f"`{ENVIRONMENT_PREFIX}MAX_ROWS`. The option has precedence. "
        "`mnistflow serve` and `mnistflow up` read the variables.",
        markup.table(["option", "default", "meaning"], rows),
    )
