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
        rows.append((f"`--{name.replace('_', '-')}`", kind, markup.code(str(defaults[name])), setting.meaning))
    return markup.page(
        "Server settings",
        "serving/settings.py",
        f"Each setting is an option of `mnistflow-serve` and an environment variable: `--max-rows` is "
        f"`{ENVIRONMENT_PREFIX}MAX_ROWS`. The option wins. `mnistflow serve` and `mnistflow up` read the variables too.",
        markup.table(["option", "type", "default", "meaning"], rows),
    )
