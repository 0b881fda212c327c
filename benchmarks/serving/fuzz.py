"""Fuzzing of the JSON, binary and image endpoints: does any request cause a 5xx, a hang, or wrong answers afterwards?

Each case is a sound request, changed at random in its bytes, its structure or its headers. A case is made from the
seed, the endpoint and its number alone, so that any finding can be sent again: `--seed 0 --first 1234 --cases 1`.

    python benchmarks/serving/fuzz.py --seconds 600
"""

import argparse
import base64
import gzip
import http.client
import io
import itertools
import json
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import serving_kit as kit

HANGS_SECONDS = 10.0
CHECK_EVERY = 200
HEADER_LENGTH = "Inference-Header-Content-Length"
INFER = f"/v2/models/{kit.NAME}/infer"


@dataclass(frozen=True)
class Case:
    """A request to send."""

    path: str
    headers: dict[str, str]
    body: bytes


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 255, 256, 2**31, 2**63, 2**64, -(2**63), 1e308, 1e-320, 0.5, -0.0),
    *("", "images", "probabilities", "UINT8", "FP32", "BYTES", "\0", "../..", "é\ud7ff", "9" * 400),
    *([], {}, [[]], [[[]]], [None], [{}], {"": None}, {"binary_data_size": 784}, [1, 28, 28], [2**60 + 2, 16]),
)
NAMES = ("parameters", "data", "inputs", "outputs", "id", "x")
TOKENS = (b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\u0000", b"\\ud800", b"1e999", b"NaN", b"null", b"[" * 3000)
TOKENS_OF_HTTP = (
    "",
    "0",
    "1",
    "-1",
    "784",
    "1e3",
    "0x10",
    "9" * 30,
    "٣",
    "a",
    "\t7",
    "gzip",
    "deflate",
    "gzip, gzip",
    "br",
)
MEDIA = (
    "application/json",
    "application/octet-stream",
    "image/png",
    "text/plain",
    "",
    "application/json; charset=utf-7",
    ";",
)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr")
QUERIES = ("", "?input=1", "?digits=many", "?digits=many&input=1", "?digits=one", "?digits=9", "?input", "?%ff=%00")
PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "ICO", "PPM")


def bytes_changed(random: Random, body: bytes) -> bytes:
    """Flip, cut, repeat, move or insert something, a few times."""
    changed = bytearray(body)
    for _ in range(random.choice((1, 1, 1, 2, 5, 30))):
        at, length = random.randrange(len(changed) + 1), random.choice((1, 1, 2, 4, 16, 200))
        match random.randrange(6):
            case 0:
                changed[at : at + length] = random.randbytes(length)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length] * random.choice((1, 2, 50))
            case 3:
                changed[at:at] = random.choice(TOKENS)
            case 4 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case _:
                del changed[at:]
    return bytes(changed)


def tree_changed(random: Random, tree: Any) -> Any:
    """Replace, drop, add, repeat or wrap something, somewhere in a JSON value."""
    if not isinstance(tree, dict | list) or not tree or random.random() < 0.15:
        return random.choice((*VALUES, [tree], {"value": tree}))
    changed: Any = tree.copy()
    key = random.choice(list(tree)) if isinstance(tree, dict) else random.randrange(len(tree))
    match random.randrange(8):
        case 0:
            del changed[key]
        case 1 if isinstance(tree, dict):
            changed[random.choice(NAMES)] = random.choice(VALUES)
        case 1:
            changed.append(tree[key])
        case _:
            changed[key] = tree_changed(random, tree[key])
    return changed


def headers_changed(random: Random, case: Case) -> Case:
    """Say something else of the body, or compress it, or say so only."""
    body, headers = case.body, dict(case.headers)
    match random.randrange(5):
        case 0:
            headers[HEADER_LENGTH] = random.choice((*TOKENS_OF_HTTP, str(random.randrange(len(body) + 2))))
        case 1:
            headers["Content-Type"] = random.choice(MEDIA)
        case 2:
            body = gzip.compress(body) if random.random() < 0.5 else zlib.compress(body)
            headers["Content-Encoding"] = random.choice(("gzip", "deflate"))
        case 3:
            headers["Content-Encoding"] = random.choice(TOKENS_OF_HTTP)
        case _:
            headers["X-Request-Id"] = random.choice(TOKENS_OF_HTTP)
    # What is no latin-1 cannot be sent by http.client.
    sendable = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
    return replace(case, body=bytes_changed(random, body) if random.random() < 0.1 else body, headers=sendable)


def question(random: Random, images: np.ndarray) -> dict[str, Any]:
    """Return a sound request for some of the images."""
    asked = kit.inference_request(images[: random.randint(1, 3)])
    if random.random() < 0.3:
        asked["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": random.random() < 0.5}}]
    return asked | {"id": str(random.random()), "parameters": {"binary_data_output": random.random() < 0.3}}


def json_case(random: Random, images: np.ndarray) -> Case:
    tree = question(random, images)
    if random.random() < 0.7:
        for _ in range(random.choice((1, 1, 2, 4))):
            tree = tree_changed(random, tree)
    body = json.dumps(tree).encode("utf-8", "surrogatepass")
    if random.random() < 0.3:
        body = bytes_changed(random, body)
    case = Case(INFER, {"Content-Type": "application/json"}, body)
    return headers_changed(random, case) if random.random() < 0.1 else case


def binary_case(random: Random, images: np.ndarray) -> Case:
    tree = question(random, images)
    (tensor,) = tree["inputs"]
    blob = bytes(tensor.pop("data"))
    tensor["parameters"] = {"binary_data_size": len(blob)}
    if random.random() < 0.2:
        return headers_changed(random, Case(INFER, {HEADER_LENGTH: "0"}, bytes_changed(random, blob)))
    if random.random() < 0.6:
        tree = tree_changed(random, tree)
    head = json.dumps(tree).encode("utf-8", "surrogatepass")
    length = len(head) + (random.randint(-3, 3) if random.random() < 0.2 else 0)
    body = head + blob
    case = Case(INFER, {HEADER_LENGTH: str(length)}, bytes_changed(random, body) if random.random() < 0.3 else body)
    return headers_changed(random, case) if random.random() < 0.2 else case


def picture_notes(random: Random) -> dict[str, Any]:
    """Return what may be saved with a picture: EXIF, and the text chunks of a PNG."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = random.choice((*range(10), 65535))
    exif[ExifTags.Base.ImageDescription] = "x" * random.choice((0, 3, 40))
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: (1, 30), ExifTags.Base.UserComment: b"x" * 40}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (1.0, 2.0, 3.0)}
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type exif", f"\nexif\n8\n{random.randbytes(8).hex()}", zip=random.random() < 0.5)
    texts.add_itxt("XML:com.adobe.xmp", f'<x tiff:Orientation="{random.randrange(10)}"/>', zip=random.random() < 0.5)
    return {"exif": exif.tobytes()} if random.random() < 0.7 else {"pnginfo": texts}


def with_right_checksums(png: bytes) -> bytes:
    """Return a PNG as damaged as before, but not to be told by its checksums."""
    chunks, start = [PNG], len(PNG)
    while start + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, start)
        end = start + 8 + length
        content = png[start + 4 : end]
        chunks.append(png[start : start + 4] + content + struct.pack(">I", zlib.crc32(content)))
        start = end + 4
    return b"".join(chunks) + png[start:]


def image_case(random: Random, images: np.ndarray) -> Case:
    picture = Image.fromarray(np.hstack([random.choice(images) for _ in range(random.choice((1, 1, 2, 5)))]))
    if random.random() < 0.7:
        picture = picture.resize((random.choice((1, 2, 20, 28, 300)), random.choice((1, 3, 28, 29, 400))))
    content = io.BytesIO()
    notes = picture_notes(random) if random.random() < 0.5 else {}
    try:
        picture.convert(random.choice(MODES)).save(content, random.choice(FORMATS), **notes)
        body = content.getvalue()
    except (OSError, ValueError, KeyError):  # not every format has every mode
        body = images[0].tobytes()
    if random.random() < 0.7:
        # Sizes and types stand at the beginning, and what is noted of a picture before or behind its pixels.
        start = max(body.lower().find(b"exif"), 0) if random.random() < 0.5 else 0
        end = start + random.choice((16, 64, 250, len(body)))
        body = body[:start] + bytes_changed(random, body[start:end]) + body[end:]
        if body.startswith(PNG) and random.random() < 0.5:
            body = with_right_checksums(body)
    if random.random() < 0.1:
        body = b"data:image/png;base64," + bytes_changed(random, base64.b64encode(body))
    case = Case("/predict" + random.choice(QUERIES), {}, body)
    return headers_changed(random, case) if random.random() < 0.1 else case


def list_case(random: Random, images: np.ndarray) -> Case:
    texts = []
    for _ in range(random.choice((1, 2, 5))):
        content = image_case(random, images).body
        text = base64.b64encode(content).decode()
        texts.append(random.choice(("", "data:image/png;base64,")) + text)
    tree: Any = {"images": texts}
    if random.random() < 0.5:
        tree = tree_changed(random, tree)
    body = json.dumps(tree).encode("utf-8", "surrogatepass")
    sent = bytes_changed(random, body) if random.random() < 0.2 else body
    case = Case("/predict" + random.choice(QUERIES), {}, sent)
    return headers_changed(random, case) if random.random() < 0.1 else case


ENDPOINTS: dict[str, Callable[[Random, np.ndarray], Case]] = {
    "json": json_case,
    "binary": binary_case,
    "image": image_case,
    "list": list_case,
}


class Client:
    """Sends cases over one connection as long as that holds."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")
        self._connection = self._new()
        self._is_fresh = True

    def send(self, case: Case) -> tuple[int, bytes]:
        """Return status and body.

        Raises:
            OSError: nothing comes, or the connection is cut before an answer.
            http.client.HTTPException: what comes is no answer.
        """
        try:
            self._connection.request("POST", case.path, case.body, case.headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (ConnectionError, http.client.HTTPException):
            fresh = self._is_fresh
            self._connection.close()
            self._connection, self._is_fresh = self._new(), True
            if fresh:
                raise
            return self.send(case)
        self._is_fresh = answer.will_close
        return answer.status, body

    def _new(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=HANGS_SECONDS)


class Fuzz:
    """A server, and what it must still answer after anything."""

    def __init__(self, server: kit.Server, classifier: kit.Classifier, images: np.ndarray) -> None:
        self._server = server
        self._images = images
        self._right = classifier.probabilities(images)

    def run(self, endpoint: str, seed: int, numbers: Iterator[int]) -> tuple[Counter[int], list[str]]:
        """Return the statuses that came, and what was found."""
        client = Client(self._server.url)
        statuses: Counter[int] = Counter()
        found = []
        for count, number in enumerate(numbers):
            case = ENDPOINTS[endpoint](Random(f"{seed} {endpoint} {number}"), self._images)
            try:
                status, body = client.send(case)
                statuses[status] += 1
                if status >= 500 or (status >= 400 and "error" not in json.loads(body)):
                    found.append(f"case {number}: {status} {body[:200]!r}")
            except (OSError, ValueError, http.client.HTTPException) as error:
                found.append(f"case {number}: {type(error).__name__} {error}")
            if count % CHECK_EVERY == 0 and not self.is_right():
                found.append(f"at case {number}: no longer right")
        if not self.is_right():
            found.append("not right at the end")
        return statuses, found

    def is_right(self) -> bool:
        """Whether sound requests are answered, and rightly."""
        answer = self._server.client.post(INFER, json=kit.inference_request(self._images[:2]))
        picture = self._server.client.post("/predict", content=self._images[0].tobytes())
        given = answer.json()["outputs"][0]["data"] if answer.is_success else []
        return (
            picture.is_success
            and np.allclose(picture.json()["probabilities"], self._right[0], atol=1e-5)
            and np.allclose(np.reshape(given, (-1, 10)), self._right[:2], atol=1e-5)
            and self._server.client.get("/v2/health/ready").is_success
        )


def until(end: float, numbers: Iterator[int]) -> Iterator[int]:
    """Yield numbers until a time of the monotonic clock."""
    return itertools.takewhile(lambda _: time.monotonic() < end, numbers)


def main() -> int:
    """Fuzz every endpoint and print what came; exit status 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each endpoint, unless --cases is given")
    parser.add_argument("--cases", type=int, help="for each endpoint")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--endpoints", nargs="+", choices=ENDPOINTS, default=list(ENDPOINTS))
    arguments = parser.parse_args()
    images, _ = kit.digits()
    classifier = kit.untrained(arguments.seed)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        kit.publish(Path(folder), 1, classifier, images)
        kit.set_champion(Path(folder), 1)
        with kit.Server(Path(folder)) as server:
            fuzz = Fuzz(server, classifier, images[:64])
            for endpoint in arguments.endpoints:
                numbers: Iterator[int]
                if arguments.cases is None:
                    forever = itertools.count(arguments.first)
                    numbers = until(time.monotonic() + arguments.seconds, forever)
                else:
                    numbers = iter(range(arguments.first, arguments.first + arguments.cases))
                statuses, found = fuzz.run(endpoint, arguments.seed, numbers)
                shown = ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
                print(f"{endpoint}: {statuses.total():,} cases, {shown}; found: {len(found)}", flush=True)
                for line in found[:20]:
                    print(f"  {line}")
                failed = failed or bool(found)
            memory = server.memory_peak_bytes()
        tracebacks = sum("Traceback" in line for line in server.log)
        print(f"largest resident memory: {memory / 1e6:.0f} MB; tracebacks in the log: {tracebacks}")
    return int(failed or tracebacks > 0)


if __name__ == "__main__":
    sys.exit(main())
