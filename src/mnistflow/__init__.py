"""Machine learning and the model registry, in plain Python. Imports neither Prefect, `flows` nor `serving`."""

__version__ = "0.1.0"
