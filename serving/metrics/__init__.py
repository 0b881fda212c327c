"""Metrics: counters in Prometheus' format, under own names and Triton's. Imports `manifest` for types."""
