"""Endpoints: one module an endpoint, over HTTP or gRPC. Imports every other folder but `process`."""
