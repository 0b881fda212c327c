"""The functions for notebooks, as docs/how-to/notebook.md prints them."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from checkouts import ROOT, Checkout

PAGE = ROOT / "docs/how-to/notebook.md"


NOTHING = """
import mnistflow
assert mnistflow.plot_runs(mnistflow.find_runs(family="gan")).get_xlabel() == ""
data = mnistflow.load_data()
print(mnistflow.load_champion().predict(data.test.inputs[:0]).shape)
"""


@pytest.mark.slow
@pytest.mark.xdist_group("retrained")
def test_no_runs_and_no_images_are_no_error(retrained: Checkout) -> None:
    done = replace(retrained, environment={**retrained.environment, "MPLBACKEND": "agg"}).python(NOTHING)
    assert done.strip().endswith("(0, 10)")


@pytest.mark.slow
@pytest.mark.xdist_group("retrained")
def test_the_code_of_the_page_runs_as_printed(retrained: Checkout, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    environment = {**retrained.environment, "MPLBACKEND": "agg"}
    done = replace(retrained, environment=environment).python("\n".join(blocks))
    (retrained.folder / "var/runs.png").rename(tmp_path / "runs.png")
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    assert "digits-classifier 1 0.9" in done
    assert "'test': (360, 28, 28)" in done


def test_importing_the_package_is_cheap(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys, mnistflow; print(*sys.modules)"]
    loaded = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert "mnistflow" in loaded
    assert not {"numpy", "pandas", "mlflow", "tensorflow", "onnxruntime", "matplotlib"} & set(loaded)


def test_other_attributes_are_unknown() -> None:
    import mnistflow

    with pytest.raises(AttributeError, match="has no attribute 'find_run'"):
        mnistflow.find_run  # noqa: B018
