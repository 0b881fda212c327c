"""A service for BentoML."""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from session import open_session


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Classifier:
    """Arrays as JSON in and out."""

    def __init__(self) -> None:
        self._session = open_session()

    # A coroutine runs on the event loop; a plain method would cost a hop to a thread.
    @bentoml.api
    async def predict(self, images: Annotated[np.ndarray, DType("uint8")]) -> np.ndarray:
        (probabilities,) = self._session.run(["probabilities"], {"images": images.reshape(-1, 28, 28)})
        return probabilities
