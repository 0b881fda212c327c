"""Orchestration: Prefect's API, deployments and log. Imports `processes` and `mnistflow`."""
