"""A server of LitServe: `python litserve_server.py PORT`."""

import sys

import litserve
import numpy as np
from session import open_session


class Classifier(litserve.LitAPI):
    """A flat list of pixels in, a list of probabilities out."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        self._session = open_session()

    # Without annotations here, for LitServe has pydantic check each pixel against them.
    def decode_request(self, request):
        return np.array(request["images"], np.uint8).reshape(-1, 28, 28)

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(["probabilities"], {"images": images})[0]

    def encode_response(self, output):
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
