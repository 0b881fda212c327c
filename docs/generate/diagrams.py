"""Diagrams of the architecture page, as SVG that fits a phone's width and follows the site's light and dark scheme."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

import code_map
import markup

WIDTH = 360  # of every diagram, in CSS pixels at most
BOX = 'class="diagram-box" rx="6"'
CHARACTER = 7.6  # width of one of 13 pixels, of the widest common sans-serif
LINE = 17


@dataclass(frozen=True)
class Step:
    """One box of a path: a title, the file that does it, and one sentence."""

    title: str
    file: str
    text: str


REQUEST = [
    Step("Bytes arrive", "serving/http/connection.py", "asyncio.Protocol on httptools; caches headers."),
    Step("Route and keys", "serving/http/router.py", "Finds the endpoint; checks the key."),
    Step("Endpoint", "serving/endpoints/v2.py", "Or predict, invocations, feedback; for gRPC, serving/grpc."),
    Step("Decode", "serving/protocol/json_request.py", "JSON or binary tensors become one array."),
    Step("Route", "serving/engine/data_plane.py", "Champion, version asked for, or challenger."),
    Step("Batch", "serving/engine/batcher.py", "One queue per version; requests that wait together run together."),
    Step("Run", "serving/engine/model.py", "onnxruntime computes the batch."),
    Step("Answer", "serving/protocol/json_response.py", "Encoded in the form of the request; logged, if sampled."),
]
RETRAINING = [
    Step("Configure", "src/mnistflow/config.py", "params.yaml, preset and overrides become one frozen object."),
    Step("Choose the data set", "src/mnistflow/data/fetch.py", "The configured one, or the declared fallback."),
    Step("Open a workspace", "src/mnistflow/pipeline/workspace.py", "A copy of sources and parameters in var/runs."),
    Step("fetch, prepare", "src/mnistflow/data/prepare.py", "Verified raw files; checked, stratified splits."),
    Step("tune, train", "src/mnistflow/learners/train.py", "Search with pruning, then the fit; both can resume."),
    Step("export", "src/mnistflow/export/export.py", "ONNX, equal to the trained model on the test split."),
    Step("evaluate", "src/mnistflow/evaluation/evaluate.py", "Metrics of the ONNX file, also under corruptions."),
    Step("record", "src/mnistflow/pipeline/record.py", "Parameters, curves, sources and reports go to MLflow."),
    Step(
        "register, compare",
        "src/mnistflow/registry/gate/verdict.py",
        "A version, and the verdict on it.",
    ),
    Step(
        "promote, publish",
        "src/mnistflow/registry/repository/publisher.py",
        "The alias moves, then the served folder follows.",
    ),
]


def tree() -> str:
    """Return the three packages with their folders in layers, as the imports in the sources give them."""
    parts, y = [], 4.0
    for package in ("flows", "mnistflow", "serving"):
        top = y
        boxes, y = _rows(code_map.layers(package), top + 30)
        parts.append(f"<rect {_at(1, top, WIDTH - 2, y - top)} {BOX}/>")
        parts += [_text(12, top + 20, package, "diagram-title"), *boxes]
        y += 26
        if package == "flows":
            parts.append(_arrow(y - 26))
        elif package == "mnistflow":
            parts += [_arrow(y - 26), f"<rect {_at(60, y, WIDTH - 120, 28)} {BOX}/>"]
            parts.append(
                _text(WIDTH / 2, y + 18, "model repository: files in var/models", "diagram-text diagram-middle")
            )
            parts.append(_arrow(y + 28, up=True))
            y += 54
    return _svg(
        "The packages and their folders. flows imports mnistflow; serving only reads the model repository.", y, parts
    )


def folder_table() -> str:
    """Return what each folder is for and what it imports from its own package."""
    rows = []
    for name, folder in code_map.folders().items():
        package, *inner = name.split(".")
        if len(inner) == 1:
            used = code_map.imports(package).get(inner[0], set())
            path = folder.relative_to(markup.ROOT).as_posix()
            link = f"[{markup.breakable(path)}](../reference/python/{name}.md)"
            rows.append((link, code_map.purpose(folder), ", ".join(sorted(used))))
    return markup.table(["folder", "what it is for", "imports"], rows)


def request() -> str:
    """Return the path of an inference request."""
    return _path("The path of an inference request", REQUEST)


def retraining() -> str:
    """Return the path of a retraining."""
    return _path("The path of a retraining", RETRAINING)


DIAGRAMS = {"tree": tree, "folders": folder_table, "request": request, "retraining": retraining}


def _path(title: str, steps: Sequence[Step]) -> str:
    parts, y = [], 4.0
    for number, step in enumerate(steps):
        if not (markup.ROOT / step.file).exists():
            raise FileNotFoundError(f"{step.file}, which the diagram '{title}' names")
        if number:
            parts.append(_arrow(y))
            y += 26
        lines = wrap(step.text, int((WIDTH - 24) / 6.6))
        height = 48 + LINE * len(lines)
        parts.append(f"<rect {_at(1, y, WIDTH - 2, height)} {BOX}/>")
        parts.append(_text(12, y + 20, step.title, "diagram-title"))
        parts.append(_text(12, y + 38, step.file, "diagram-file"))
        parts += [_text(12, y + 56 + LINE * row, line, "diagram-text") for row, line in enumerate(lines)]
        y += height
    return _svg(title, y + 4, parts)


def _rows(rows: Sequence[Sequence[str]], y: float) -> tuple[list[str], float]:
    """Return the boxes of a package's parts, one band a layer, and where they end."""
    parts = []
    for row in rows:
        x = 10.0
        for name in row:
            width = CHARACTER * len(name) + 14
            if x + width > WIDTH - 10:
                x, y = 10.0, y + 32
            parts.append(f"<rect {_at(x, y, width, 26)} {BOX}/>")
            parts.append(_text(x + width / 2, y + 17, name, "diagram-text diagram-middle"))
            x += width + 6
        y += 32
        if row is not rows[-1]:
            parts.append(f'<path d="M10 {y:g}H{WIDTH - 30}" class="diagram-rule"/>')
            parts.append(f'<path d="M{WIDTH - 18} {y - 7:g}v14m-4 -5l4 5l4 -5" class="diagram-arrow"/>')
            y += 7
    return parts, y + 6


def _arrow(y: float, up: bool = False) -> str:
    start, shaft = (y + 22, "v-18m-5 6l5 -7l5 7") if up else (y + 3, "v18m-5 -6l5 7l5 -7")
    return f'<path d="M{WIDTH / 2:g} {start:g}{shaft}" class="diagram-arrow"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _at(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="diagram" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
