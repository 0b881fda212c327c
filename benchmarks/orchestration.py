"""What orchestration costs: `mnistflow retrain` against a bare Keras script with the same settings, side by side.

Each repeat trains both once, one after the other, the pipeline in a fresh copy of the checkout. The pipeline also checks
and splits the data, exports to ONNX, proves parity, measures speed, records, registers, compares and publishes.

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

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("params.yaml", "dvc.yaml", "prefect.yaml", ".dvcignore", ".dvc", "src", "flows")


def timed(command: list[str], folder: Path) -> float:
    """Return the seconds a command took; its output is shown only when it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started


def copy_checkout(target: Path) -> Path:
    """Return a fresh checkout without anything written at run time."""
    target.mkdir()
    for name in SOURCES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target / name)
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
    retrain = [str(Path(sys.executable).with_name("mnistflow")), "retrain", "-S", "tune.trials=0"]
    retrain += ["-S", f"train.epochs={arguments.epochs}", "-S", f"train.patience={arguments.epochs}"]
    bare_times, flow_times = [], []
    for repeat in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            bare = [sys.executable, str(ROOT / "benchmarks/bare_keras.py"), str(downloads), f"{folder}/bare.keras"]
            bare_times.append(timed([*bare, "--epochs", str(arguments.epochs)], Path(folder)))
            flow_times.append(timed(retrain, copy_checkout(Path(folder) / "checkout")))
        print(f"repeat {repeat + 1}: bare Keras {bare_times[-1]:.1f} s, retrain {flow_times[-1]:.1f} s", flush=True)
    bare_time, flow_time = statistics.median(bare_times), statistics.median(flow_times)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, n = {arguments.repeats}, medians")
    print(f"bare Keras, {arguments.epochs} epochs  {bare_time:7.1f} s")
    print(f"mnistflow retrain      {flow_time:7.1f} s")
    extra = flow_time - bare_time
    print(
        f"more                   {extra:7.1f} s ({extra / bare_time:.0%}; allowed: 10 % + 20 s = {bare_time / 10 + 20:.1f} s)"
    )


if __name__ == "__main__":
    main()
