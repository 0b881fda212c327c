"""Sources of raw data: mirrors, and data sets that are generated or brought along. Imports `data.splits` only."""
