"""Prefect flows: when, where, and what happens on failure. What is computed stands in `mnistflow`."""
