"""Open Inference Protocol: tensors, JSON, binary and gRPC codecs. Imports no other folder."""
