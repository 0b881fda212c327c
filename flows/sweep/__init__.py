"""Sweeps: model families side by side. Imports `mnistflow` and `processes`."""
