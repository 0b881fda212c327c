"""Retrain image classifiers, keep every experiment, let only a better model through."""

__version__ = "0.1.0"
