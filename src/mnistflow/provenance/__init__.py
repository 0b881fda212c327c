"""Provenance: proof of where a version comes from. Composes pipeline, registry and analysis; flows import it."""
