"""Open Inference Protocol: tensors, and requests and responses in JSON, bytes or protobuf. Imports no other folder."""
