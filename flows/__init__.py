"""Prefect flows and the command line: when, where, and what happens on failure. Imports `mnistflow`, not `serving`.

Flows: `ingest`, `retrain`, `monitor`, `upkeep`. The other modules here are their steps, parameters and reports; `sweep`
runs without Prefect.
"""
