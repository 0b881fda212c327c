"""Endpoints: one module per HTTP endpoint. Imports every other folder but `grpc`, `process` and `scoring`."""
