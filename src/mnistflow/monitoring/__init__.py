"""Monitoring of a champion: its reference, detectors of drift and of lost accuracy, looks at the inference log."""
