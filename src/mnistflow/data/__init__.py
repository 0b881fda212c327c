"""Data sets: catalogue, download, checks and splits. Imports `tasks`."""
