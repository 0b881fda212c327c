"""This project's monitoring, evidently and frouros on the same streams: false alarms, and looks until drift is found.

Network, reference and drift are those of `benchmarks/monitoring.py`. Every detector gets the same columns of the same
looks: the statistics of each image, and the probability of each class. Labels are not looked at. The others are
installed in environments of their own below `var/`, and do what they do by default.

    PYTHONPATH=benchmarks python -m detectors --mirror ../shared/datasets
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import monitoring
import numpy as np
from monitoring import Pool
from sklearn.neural_network import MLPClassifier

from detectors import looks
from mnistflow import config
from mnistflow.monitoring import findings
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.detection import Detector
from mnistflow.monitoring.findings import HOURS_A_YEAR, Sample
from mnistflow.monitoring.reference import Reference
from mnistflow.monitoring.state import Check

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / "var/benchmarks/detectors"
PEERS = {"evidently": ["evidently==0.7.23", "pandas<3"], "frouros": ["frouros==0.9.0"]}
OURS = "mnistflow"

Alarms = Mapping[str, Sequence[Sequence[int]]]  # the numbers of looks, a list a repetition, by the name of a detector


def installed(name: str) -> Path:
    """Return the interpreter of a peer's environment, made now unless it is there already."""
    python = ENVIRONMENTS / name / "bin/python"
    if not python.is_file():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENTS / name], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PEERS[name]], check=True)
    return python


def theirs(name: str, folder: Path) -> Mapping[str, Alarms]:
    """Return the alarms of a peer, by the name of the stream."""
    command: list[str | Path] = [installed(name), "-m", f"detectors.{name}_looks", folder]
    variables = os.environ | {"DO_NOT_TRACK": "1", "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found: Mapping[str, Alarms] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(reference: Reference, pool: Pool, chosen: np.ndarray, settings: MonitorConfig, is_calm: bool) -> Alarms:
    """Return the alarms of the project's monitoring."""
    found = []
    for repetition in chosen:
        detectors: dict[Check, Detector] = {}
        alarms: list[int] = []
        for number, rows in enumerate(repetition, start=1):
            sample = Sample(pool.inputs[rows], pool.probabilities[rows], np.empty(0, bool))
            answered = findings.examine(reference, sample, detectors, 1.0, settings)
            alarms += [number] * bool(answered.alarms)
            if alarms and not is_calm:
                break
            detectors = {check: answer.detector for check, answer in answered.results.items()}
        found.append(alarms)
    return {OURS: found}


def columns(inputs: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.concatenate([inputs, probabilities.round(4)], axis=1)


def write(folder: Path, name: str, pool: Pool, chosen: np.ndarray) -> None:
    """Write a stream for the peers."""
    np.savez(folder / looks.STREAMS / f"{name}.npz", values=columns(pool.inputs, pool.probabilities), chosen=chosen)


def table(alarms: Mapping[str, Alarms], accuracies: Mapping[str, float], calm: int, most: int) -> str:
    """Return the results as a Markdown table: a row for each stream, a column for each detector."""
    names = list(alarms[looks.CALM])
    per_year = [f"{HOURS_A_YEAR * len(alarms[looks.CALM][name][0]) / calm:,.0f}" for name in names]
    rows = [
        f"| | accuracy | {' | '.join(names)} |",
        f"| --- | ---: |{' ---: |' * len(names)}",
        f"| no drift: false alarms a year | {accuracies[looks.CALM]:.1%} | {' | '.join(per_year)} |",
    ]
    for stream, found in alarms.items():
        if stream == looks.CALM:
            continue
        delays = [sorted(repetition[0] if repetition else most + 1 for repetition in found[name]) for name in names]
        shown = ["not found" if delay[len(delay) // 2] > most else f"{delay[len(delay) // 2]}" for delay in delays]
        rows.append(f"| {stream} | {accuracies[stream]:.1%} | {' | '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--calm", type=int, default=400, help="looks at traffic without drift")
    parser.add_argument("--seeds", type=int, default=3, help="streams of each kind of drift")
    parser.add_argument("--most", type=int, default=24, help="looks at a stream with drift")
    parser.add_argument("--images", type=int, default=200, help="of a look")
    arguments = parser.parse_args()
    settings = config.load(HERE.parents[1] / "params.yaml").monitor
    official = arguments.mirror / "mnist"
    images = monitoring.read(official / "train-images-idx3-ubyte.gz", 16, (28, 28))
    labels = monitoring.read(official / "train-labels-idx1-ubyte.gz", 8, ())
    sizes = [monitoring.TRAINED, monitoring.REFERENCE, monitoring.UNDRIFTED, monitoring.DRIFTED]
    trained, referred, calm, other = monitoring.parts(len(images), sizes)
    network = MLPClassifier((64,), batch_size=128, max_iter=6, random_state=0)
    network.fit(images[trained].reshape(len(trained), -1) / np.float32(255), labels[trained])
    known = Pool(images[referred], labels[referred], network)
    classes = np.array([str(one) for one in range(10)])
    reference = Reference(known.inputs, known.probabilities, known.right, images[referred[:1]], classes)
    pools = {looks.CALM: Pool(images[calm], labels[calm], network)}
    pools |= monitoring.drifted(images[other], labels[other], network)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {arguments.calm} looks without drift, n = {arguments.seeds}")
    generator = np.random.default_rng(0)
    alarms: dict[str, dict[str, Sequence[Sequence[int]]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / looks.STREAMS).mkdir()
        np.save(folder / looks.REFERENCE, columns(known.inputs, known.probabilities))
        for name, pool in pools.items():
            shape = (1, arguments.calm) if name == looks.CALM else (arguments.seeds, arguments.most)
            chosen = generator.integers(len(pool.inputs), size=(*shape, arguments.images))
            write(folder, name, pool, chosen)
            alarms[name] = dict(ours(reference, pool, chosen, settings, name == looks.CALM))
        for peer in PEERS:
            for name, found in theirs(peer, folder).items():
                alarms[name] |= found
    print(
        table(alarms, {name: float(pool.right.mean()) for name, pool in pools.items()}, arguments.calm, arguments.most)
    )


if __name__ == "__main__":
    main()
