"""Prefect flows and the command line: when, where, and what happens on failure. Imports `mnistflow`, not `serving`."""
