"""Orchestration: Prefect's API, deployments and log. Imports `services` and `mnistflow`."""
