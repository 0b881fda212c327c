"""Detectors of drift side by side: this project's monitoring, and others with their defaults, on the same streams."""
