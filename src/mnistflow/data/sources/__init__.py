"""Sources of raw data: mirrors, generated data sets, a user's own data. Imports `data.entry` and `data.config`."""
