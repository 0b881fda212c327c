"""Tracking: runs in MLflow, and readers of its store. Imports no other folder."""
