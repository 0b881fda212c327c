"""Engine: models in memory, batches, rollouts, and validation of new versions. Imports `protocol` and `metrics`."""
