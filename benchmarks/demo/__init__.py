"""A simulated quarter without a person: traffic that drifts, with the loop and without it."""
