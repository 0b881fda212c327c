"""Addresses of services that only this machine can reach."""

LOOPBACK = "127.0.0.1"
