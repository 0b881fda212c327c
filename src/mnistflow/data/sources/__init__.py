"""Sources of raw data: mirrors, generated data sets, a user's own images. Imports `data.entry` and `data.config`."""
