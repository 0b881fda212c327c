"""What a preset or a family reaches: accuracy of the published ONNX file over several seeds, and what it costs.

Each seed is a whole `mnistflow retrain` in a copy of the checkout, so that splits, search and training all count.
Rows of docs/explanation/leaderboard.md are replaced or added.

    python benchmarks/accuracy.py fast best lstm --dataset fashion_mnist --seeds 3
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration import ROOT, copy_checkout

from mnistflow.models import families

MNISTFLOW = str(Path(sys.executable).with_name("mnistflow"))
ENSEMBLE = 3  # models
TABLE = ROOT / "docs/explanation/leaderboard.md"


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        run_id: in MLflow.
        train_seconds: of the final fit.
        seconds: of the whole pipeline.
    """

    run_id: str
    accuracy: float
    robust: float
    parameters: int
    megabytes: float
    train_seconds: float
    seconds: float


def run_seed(checkout: Path, what: str, dataset: str, seed: int, overrides: list[str]) -> Result:
    """Retrain with a preset, a family, or neither."""
    settings = [f"train.seed={seed}", f"tune.seed={seed}", *overrides]
    if what in families():
        return retrain(checkout, dataset, [], [f"model.family={what}", *settings])
    return retrain(checkout, dataset, [] if what == "default" else ["--preset", what], settings)


def run_ensemble(checkout: Path, dataset: str, members: Sequence[Result]) -> Result:
    """Average the models of earlier runs."""
    chosen = ",".join(member.run_id for member in members)
    return retrain(checkout, dataset, [], ["model.family=ensemble", f"model.ensemble.members=[{chosen}]"])


def retrain(checkout: Path, dataset: str, choice: list[str], settings: list[str]) -> Result:
    """Retrain once and return what the leaderboard says of the run."""
    settings = [f"fetch.dataset={dataset}", "fetch.fallback=null", *settings]
    before = ranked(checkout, dataset)
    started = time.perf_counter()
    call(checkout, "retrain", *choice, *(part for setting in settings for part in ("-S", setting)))
    seconds = time.perf_counter() - started
    (row,) = (row for run_id, row in ranked(checkout, dataset).items() if run_id not in before)
    costs = (row["parameters"], row["file_megabytes"], row["train_seconds"])
    return Result(row["run_id"], row["score"], row["robust"], *costs, seconds)


def ranked(checkout: Path, dataset: str) -> dict[str, dict[str, Any]]:
    """Return the rows of the leaderboard by run."""
    rows = json.loads(call(checkout, "leaderboard", "--dataset", dataset, "--json", "--limit", "1000"))
    return {row["run_id"]: row for row in rows}


def call(checkout: Path, *arguments: str) -> str:
    """Run the command line, from the sources of the copy, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout / "src"), str(checkout)])}
    done = subprocess.run(
        [MNISTFLOW, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def row(dataset: str, what: str, results: list[Result]) -> str:
    """Return a line of the table: means, sample standard deviation of the accuracies, medians of the seconds."""
    accuracies = [result.accuracy for result in results]
    spread = f"{statistics.stdev(accuracies):.2%}" if len(accuracies) > 1 else ""
    train, whole = (
        statistics.median(getattr(result, name) for result in results) for name in ("train_seconds", "seconds")
    )
    first = results[0]
    robust = statistics.mean(result.robust for result in results)
    cells = [dataset, what, f"{statistics.mean(accuracies):.2%}", spread, str(len(results)), f"{robust:.1%}"]
    costs = [f"{first.parameters:,}", f"{first.megabytes:.2f}", f"{train:.0f}", f"{whole:.0f}"]
    return "| " + " | ".join([*cells, *costs]) + " |"


def write(line: str) -> None:
    """Put a line into the leaderboard in place of the one for the same data set and preset or family."""
    text = TABLE.read_text(encoding="utf-8")
    key = line.split("|")[1:3]
    lines = [old for old in text.splitlines() if old.split("|")[1:3] != key]
    last = max(number for number, old in enumerate(lines) if old.startswith("|"))
    TABLE.write_text("\n".join([*lines[: last + 1], line, *lines[last + 1 :]]) + "\n", encoding="utf-8")


def main() -> None:
    """Run everything that is named with every seed and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["default", "fast"], help="presets and families")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-S", "--set", dest="overrides", action="append", default=[])
    parser.add_argument("--ensembles", action="store_true", help="also average each three of the models")
    parser.add_argument("--write", action="store_true", help="update docs/explanation/leaderboard.md")
    arguments = parser.parse_args()
    if (ROOT / "var/downloads").is_dir():
        os.environ.setdefault("MNISTFLOW_MIRRORS", str(ROOT / "var/downloads"))
    with tempfile.TemporaryDirectory() as folder:
        checkout = copy_checkout(Path(folder) / "checkout")
        for what in arguments.what:
            name = " ".join([what, *arguments.overrides])
            results = []
            for seed in range(arguments.seeds):
                results.append(run_seed(checkout, what, arguments.dataset, seed, arguments.overrides))
                print(f"{arguments.dataset} {what} seed {seed}: {results[-1]}", flush=True)
            lines = [row(arguments.dataset, name, results)]
            if arguments.ensembles:
                trios = itertools.combinations(results, ENSEMBLE)
                averaged = [run_ensemble(checkout, arguments.dataset, members) for members in trios]
                lines.append(row(arguments.dataset, f"ensemble of {ENSEMBLE} {name}", averaged))
            for line in lines:
                print(line, flush=True)
                if arguments.write:
                    write(line)


if __name__ == "__main__":
    main()
