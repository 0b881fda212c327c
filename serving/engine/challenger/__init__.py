"""Challenger: a version that is tried beside the champion, by canary or shadow requests.

Imports `engine.model`, `engine.repository` and `engine.residency`.
"""
