"""Orchestration: Prefect's API, deployments, flow runs and notifications. Imports `processes` and `mnistflow`."""
