"""Evidence of a watch: rows with feedback, predicted by both versions, and the servers' metrics of both.

The log holds the images, so the previous version predicts the champion's rows offline.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mnistflow import server_client
from mnistflow.data import inference_log
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import registration, versions
from mnistflow.runtime import onnx_session
from mnistflow.server_client import RequestCounts

IMAGE_BATCH_DIMENSIONS = 3


@dataclass(frozen=True)
class Pairs:
    """Predictions of two versions for the same images with feedback.

    Attributes:
        labelled: number of images.
        wins: images that only the champion predicts correctly.
        losses: images that only the previous version predicts correctly.
        problem: why they could not be compared; empty if they could.
    """

    labelled: int = 0
    wins: int = 0
    losses: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Evidence:
    """Evidence about a champion and the version before it.

    Attributes:
        champion: requests that the servers have answered with it, since they were started.
        predecessor: the same of the version before it.
        refusals: why a server does not serve the champion, by its address; empty unless all that answer refuse it.
    """

    pairs: Pairs
    champion: RequestCounts
    predecessor: RequestCounts
    refusals: Mapping[str, str]


def gather(paths: Paths, name: str, champion: int, predecessor: int, log: str, since: datetime, limit: int) -> Evidence:
    """Return the evidence since the begin of a watch.

    Args:
        paths: of the checkout.
        name: of the registered model.
        champion: number of the version that serves.
        predecessor: number of the version before it.
        log: path or URL of the inference log.
        since: earliest time of the images, by the clock of the server that logged them.
        limit: largest number of labelled images; the first ones count.

    Raises:
        DataError: the log cannot be read.
    """
    try:
        pairs = _compare(name, champion, predecessor, log, since, limit)
    except RegistryError as error:
        pairs = Pairs(problem=str(error))
    counts = server_client.fetch_counts(paths, name)
    return Evidence(
        pairs=pairs,
        champion=counts.get(champion, RequestCounts()),
        predecessor=counts.get(predecessor, RequestCounts()),
        refusals=_refusals(paths, name, champion),
    )


def _compare(name: str, champion: int, predecessor: int, log: str, since: datetime, limit: int) -> Pairs:
    with tempfile.TemporaryDirectory() as folder:
        before = registration.download(versions.find(name, predecessor), Path(folder))
        session = onnx_session.open_session(before.model)
    shape = session.get_inputs()[0].shape
    if len(shape) != IMAGE_BATCH_DIMENSIONS:
        return Pairs()  # the log keeps images only
    source = inference_log.Source(name, champion, shape[1:])
    rows = inference_log.labelled_images(log, source, since.timestamp(), limit)
    if not rows:
        return Pairs()
    images = np.stack([np.frombuffer(image, np.uint8).reshape(shape[1:]) for image, *_ in rows])
    answers = onnx_session.predict(session, images).argmax(axis=1)
    return _pairs(rows, [before.model_json["classes"][answer] for answer in answers])


def _pairs(rows: Sequence[tuple[Any, ...]], before: Sequence[str]) -> Pairs:
    """Compare logged predictions, as rows of `labelled_images`, with those of the previous version."""
    right = np.array([inference_log.predicted_class(names, answer) == true for _, names, answer, true in rows])
    right_before = np.array([name == true for name, (*_, true) in zip(before, rows, strict=True)])
    return Pairs(len(rows), wins=int((right & ~right_before).sum()), losses=int((~right & right_before).sum()))


def _refusals(paths: Paths, name: str, champion: int) -> dict[str, str]:
    answering = [
        (server.address, server.served)
        for server in server_client.fetch_status(paths, name)
        if server.served and not server.served.wants_key
    ]
    refused = {address: served.refused[champion] for address, served in answering if champion in served.refused}
    return refused if len(refused) == len(answering) else {}
