"""Engine: models in memory, batches, rollouts, and validation of candidates. Imports `protocol` and `metrics`."""
