"""Machine learning and the model registry, in plain Python. Imports neither Prefect, `flows` nor `serving`.

For notebooks, it has the functions of `mnistflow.analysis.notebook`: `find_runs`, `load_data`, `load_champion`,
`plot_runs`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnistflow.analysis.notebook import Champion, find_runs, load_champion, load_data, plot_runs

__version__ = "0.1.0"
__all__ = ["Champion", "find_runs", "load_champion", "load_data", "plot_runs"]


def __getattr__(name: str) -> object:
    """Import the functions for notebooks when they are used: every command imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnistflow.analysis import notebook

    return getattr(notebook, name)
