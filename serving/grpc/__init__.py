"""gRPC service of the Open Inference Protocol, beside the HTTP endpoints. Imports what `endpoints` may import.

Needs the extra `grpc`; it is only imported if its port is set.
"""
