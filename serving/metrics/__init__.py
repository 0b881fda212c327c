"""Metrics for Prometheus. A new counter goes to the module of its subject: requests, models, rollouts, process.

`prometheus` composes them, `triton` repeats some under Triton's names. Imports `manifest` for types.
"""
