"""Many requests while champions swap every second and clients leave at random: is every answer given, and right?

Each swap publishes a version that the server has never seen, so that it is validated, loaded and warmed up under load.
Every answer is compared with what numpy computes for the version that the answer names. Clients leave before,
in the middle of, and after sending a request. The same load without swaps comes first, to tell what the swaps cost.

    python benchmarks/serving/soak.py --requests 1000000
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import serving_kit as kit

CLASSIFIERS = 7
IMAGES = 256
JSON_SHARE = 0.2
LEAVING_SHARE = 0.02
SWAP_SECONDS = 1.0
SWAP_MILLISECONDS = 100.0  # what a swap may add to the slowest request
GROWTH = 1.1  # of the memory, from the second fifth of the time to the last
TOLERANCE = 1e-4
SECONDS = 10.0
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)")
VERSION = re.compile(rb'"model_version":"(\d+)"')


@dataclass
class Figures:
    """What came of one part of the run."""

    counts: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def fifths(self) -> list[float]:
        """The largest resident memory in each fifth of the time, in MB."""
        return [part.max() for part in np.array_split(self.megabytes, 5) if part.size]

    @property
    def slowest(self) -> float:
        """The milliseconds of the slowest request."""
        return max(self.milliseconds)

    def lines(self) -> list[str]:
        """Return them for people."""
        delays = np.percentile(self.milliseconds, (50, 99, 99.9, 100))
        named = zip(("p50", "p99", "p99.9", "p100"), delays, strict=True)
        return [
            f"{self.counts['answered']:,} answered, {len(self.milliseconds) / self.seconds:,.0f} a second",
            f"{self.counts['left']:,} clients left, {self.counts['swaps']} swaps, {self.counts['versions']} versions",
            f"failed: {self.counts['failed']}, wrong: {self.counts['wrong']}",
            "milliseconds: " + ", ".join(f"{name} {value:.1f}" for name, value in named),
            "resident MB, largest in each fifth of the time: " + ", ".join(f"{part:.0f}" for part in self.fifths),
        ]


def faults(still: Figures, swapping: Figures) -> Iterator[str]:
    """Yield what must not be, of a run without swaps and one with them."""
    for figures in (still, swapping):
        if figures.counts["failed"] or figures.counts["wrong"]:
            yield "answers failed, or were wrong"
        second, last = figures.fifths[:2][-1], figures.fifths[-1]
        if last > GROWTH * second:
            yield "the memory is not flat"
    if swapping.slowest > still.slowest + SWAP_MILLISECONDS:
        yield f"a swap delayed a request by more than {SWAP_MILLISECONDS:g} ms"


class Soak:
    """Clients of one server, and the publisher of its champions."""

    def __init__(self, repository: Path, seed: int) -> None:
        self._repository = repository
        self._random = random.Random(seed)
        classifiers = [kit.untrained(seed + number) for number in range(CLASSIFIERS)]
        self._images = np.random.default_rng(seed).integers(0, 256, (IMAGES, 28, 28), np.uint8)
        self._right = [classifier.probabilities(self._images) for classifier in classifiers]
        self._version = CLASSIFIERS
        self._left = 0
        self._host = self._port = ""
        self._seen: set[int] = set()
        for number, classifier in enumerate(classifiers):
            kit.publish(repository, CLASSIFIERS + number, classifier, self._images)
        kit.set_champion(repository, self._version)

    def publish(self) -> None:
        """Make a new version the champion."""
        self._version += 1
        folder = self._repository / kit.NAME
        source, target = folder / str(CLASSIFIERS + self._version % CLASSIFIERS), folder / str(self._version)
        if not target.exists():
            temporary = folder / f".{self._version}.tmp"
            temporary.mkdir()
            for name in ("model.onnx", "probe.npz"):
                os.link(source / name, temporary / name)
            manifest = json.loads((source / "model.json").read_text()) | {"version": self._version}
            (temporary / "model.json").write_text(json.dumps(manifest))
            temporary.rename(target)
        kit.set_champion(self._repository, self._version)

    async def run(self, server: kit.Server, requests: int, seconds: float, connections: int, *, swaps: bool) -> Figures:
        """Send so many requests, or as many as can be sent in that time, over so many connections."""
        figures = Figures()
        self._host, _, self._port = server.url.removeprefix("http://").partition(":")
        self._left = requests
        self._seen.clear()
        side = [
            asyncio.create_task(self._watch(psutil.Process(server.pid), figures)),
            asyncio.create_task(self._stop_after(seconds)),
        ]
        if swaps:
            side.append(asyncio.create_task(self._swap(figures)))
        started = time.perf_counter()
        await asyncio.gather(*(self._client(figures) for _ in range(connections)))
        figures.seconds = time.perf_counter() - started
        for task in side:
            task.cancel()
        figures.counts["versions"] = len(self._seen)
        return figures

    async def _swap(self, figures: Figures) -> None:
        while True:
            await asyncio.sleep(SWAP_SECONDS)
            await asyncio.to_thread(self.publish)
            figures.counts["swaps"] += 1

    async def _stop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._left = 0

    async def _watch(self, process: psutil.Process, figures: Figures) -> None:
        while True:
            figures.megabytes.append(process.memory_info().rss / 1e6)
            await asyncio.sleep(0.2)

    async def _client(self, figures: Figures) -> None:
        while self._left > 0:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                await self._converse(reader, writer, figures)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                figures.counts["failed"] += 1
                print(f"failed: {type(error).__name__} {error}", file=sys.stderr)
            finally:
                writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, figures: Figures) -> None:
        """Ask until there is nothing left to ask, or until it is time to leave."""
        while self._left > 0:
            self._left -= 1
            number = self._random.randrange(IMAGES)
            request = self._request(number)
            if self._random.random() < LEAVING_SHARE:
                writer.write(request[: self._random.randrange(len(request) + 1)])
                await asyncio.sleep(self._random.random() * 0.002)
                figures.counts["left"] += 1
                return
            started = time.perf_counter()
            writer.write(request)
            async with asyncio.timeout(SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(LENGTH.search(head)[1]))  # type: ignore[index]
            figures.milliseconds.append((time.perf_counter() - started) * 1000)
            self._check(head, body, number, figures)

    def _request(self, number: int) -> bytes:
        image = self._images[number]
        if self._random.random() < JSON_SHARE:
            body = json.dumps(kit.inference_request(image[np.newaxis])).encode()
            header = "Content-Type: application/json"
        else:
            body, header = image.tobytes(), "Inference-Header-Content-Length: 0"
        start = f"POST /v2/models/{kit.NAME}/infer HTTP/1.1\r\nHost: soak\r\n{header}\r\n"
        return f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _check(self, head: bytes, body: bytes, number: int, figures: Figures) -> None:
        if not head.startswith(b"HTTP/1.1 200"):
            figures.counts["failed"] += 1
            print(f"failed: {head!r} {body!r}", file=sys.stderr)
            return
        figures.counts["answered"] += 1
        version = int(VERSION.search(body)[1])  # type: ignore[index]
        self._seen.add(version)
        if b"binary_data_size" in body:
            given = np.frombuffer(body[-40:], "<f4")
        else:
            given = np.array(json.loads(body)["outputs"][0]["data"])
        if np.abs(given - self._right[version % CLASSIFIERS][number]).max() > TOLERANCE:
            figures.counts["wrong"] += 1


def main() -> int:
    """Run the soak and print what came of it; exit status 1 when there is something that must not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop then, whatever is left to send")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        soak = Soak(repository, arguments.seed)
        with kit.Server(repository, "--poll-seconds", "0.2") as server:
            print(f"{platform.machine()}, {os.cpu_count()} cores, {arguments.connections} connections, n = 1")
            parts = []
            for name, part, swaps in (("without swaps", 0.1, False), (f"a swap every {SWAP_SECONDS:g} s", 1.0, True)):
                limits = int(arguments.requests * part), arguments.seconds * part
                figures = asyncio.run(soak.run(server, *limits, arguments.connections, swaps=swaps))
                print("\n  ".join([name, *figures.lines()]), flush=True)
                parts.append(figures)
    found = list(faults(*parts))
    for fault in found:
        print(fault)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
