"""A runtime for MLServer; its own runtimes know no ONNX."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import open_session


class Classifier(MLModel):
    """v2 JSON in, v2 JSON out."""

    async def load(self) -> bool:
        self._session = open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = NumpyCodec.decode_input(payload.inputs[0])
        (probabilities,) = self._session.run(["probabilities"], {"images": images})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", probabilities)]
        )
