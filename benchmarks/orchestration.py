"""What orchestration costs: `mnistflow retrain` against a bare Keras script with the same settings, side by side.

Each repeat trains both once, one after the other, with a seed of its own. The pipeline also checks and splits the data,
exports to ONNX, proves parity, measures speed, records, registers, compares and publishes. It runs in a copy of the
checkout whose stores exist, as they do for every run but the first; what the first one pays is printed too.

    python benchmarks/orchestration.py --repeats 3
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mnistflow.runtime.tensorflow_import import ONEDNN

ROOT = Path(__file__).resolve().parents[1]
# The network of bare_keras.py, trained as there.
SAME = ("model.cnn.dropout=0.3", "train.learning_rate=0.002", "train.schedule=cosine", "train.precision=float32")
RETRAIN = (
    *(str(Path(sys.executable).with_name("mnistflow")), "retrain", "--preset", "cnn_128"),
    *(part for setting in SAME for part in ("-S", setting)),
)
SOURCES = ("params.yaml", "dvc.yaml", "prefect.yaml", ".dvcignore", ".gitignore", ".dvc", "src", "flows", "serving")


def timed(command: list[str], folder: Path) -> float:
    """Return the seconds a command took; its output is shown only when it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started


def copy_checkout(target: Path) -> Path:
    """Return a fresh checkout without anything written at run time."""
    target.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
        else:
            shutil.copyfile(source, target / name)
    return target


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    downloads = ROOT / "var/downloads/mnist"
    if not downloads.is_dir():
        sys.exit("var/downloads/mnist is missing. Run `make run` first.")
    os.environ["MNISTFLOW_MIRRORS"] = str(downloads.parent)
    os.environ |= ONEDNN  # so that both compute alike
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), downloads, arguments.repeats, arguments.epochs)


def compare(folder: Path, downloads: Path, repeats: int, epochs: int) -> None:
    """Time both, alternately, and print the medians."""
    checkout = copy_checkout(folder / "checkout")
    first = timed([*RETRAIN, "-S", "train.epochs=1"], checkout)
    second = timed([*RETRAIN, "-S", "train.epochs=1", "-S", "train.seed=99"], checkout)
    print(f"one epoch: {first:.1f} s the first time, {second:.1f} s with the stores there", flush=True)
    bare_times, flow_times = [], []
    for seed in range(repeats):
        script = [sys.executable, str(ROOT / "benchmarks/bare_keras.py"), str(downloads), str(folder / "bare.keras")]
        bare_times.append(timed([*script, "--epochs", str(epochs), "--seed", str(seed)], folder))
        settings = {"train.epochs": epochs, "train.patience": epochs, "train.seed": seed}
        overrides = [part for key, value in settings.items() for part in ("-S", f"{key}={value}")]
        flow_times.append(timed([*RETRAIN, *overrides], checkout))
        print(f"repeat {seed + 1}: bare Keras {bare_times[-1]:.1f} s, retrain {flow_times[-1]:.1f} s", flush=True)
    bare, flow = statistics.median(bare_times), statistics.median(flow_times)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, n = {repeats}, medians")
    print(f"bare Keras, {epochs} epochs  {bare:7.1f} s")
    print(f"mnistflow retrain      {flow:7.1f} s")
    print(f"more                   {flow - bare:7.1f} s ({(flow - bare) / bare:.0%})")
    print(f"10 % and 20 s          {bare / 10 + 20:7.1f} s")


if __name__ == "__main__":
    main()
