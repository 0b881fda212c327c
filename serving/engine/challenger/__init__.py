"""Challenger: a version in canary or shadow deployment.

Imports `engine.model`, `engine.repository` and `engine.residency`.
"""
