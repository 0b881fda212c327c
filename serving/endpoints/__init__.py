"""Endpoints: one module per HTTP endpoint, and the gRPC service. Imports every other folder but `process`."""
