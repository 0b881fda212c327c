"""Data: fetching, checking and splitting data sets. Imports `tasks` and `runtime`."""
