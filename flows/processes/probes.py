"""Readiness probes of services: whether something answers at a URL, or listens on a port."""

from __future__ import annotations

import socket

import httpx

PROBE_SECONDS = 2


def needs_certificates(url: str) -> bool:
    """Return whether requests need certificates, which take 40 ms of processor time to load."""
    return url.startswith("https:")


def answers(url: str) -> bool:
    """Return whether a GET request succeeds."""
    try:
        return httpx.get(url, timeout=PROBE_SECONDS, verify=needs_certificates(url)).is_success
    except httpx.HTTPError:
        return False


def listens(host: str, port: int) -> bool:
    """Return whether a process accepts TCP connections on a port."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False
