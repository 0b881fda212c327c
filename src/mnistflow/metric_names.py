"""Names of metrics that several folders log and read: a misspelt one would be an empty column, not an error."""

PARAMETERS = "parameters"  # number of them
TRAIN_SECONDS = "train_seconds"
EPOCHS = "epochs"
FILE_MEGABYTES = "file_megabytes"  # size of the ONNX file


def latency_ms(batch_size: int) -> str:
    """Return the name of the median time of a call with that many examples, in milliseconds on one thread."""
    return f"latency_ms_batch_{batch_size}"


LATENCY_MS = latency_ms(1)
