"""Dependencies of the stages in dvc.yaml, against the modules that each stage really imports."""

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import grimp
import pytest
import yaml
from checkouts import ROOT
from dvc.repo import Repo

# Modules that hold the function of each stage.
ENTRY_MODULES = {
    "fetch": "mnistflow.data.fetch",
    "prepare": "mnistflow.data.prepare",
    "tune": "mnistflow.tuning.tune",
    "train": "mnistflow.learners.train",
    "export": "mnistflow.export.export",
    "evaluate": "mnistflow.evaluation.evaluate",
}

# Modules and folders that stages import although their code cannot change an output.
EXEMPT = {
    "mnistflow": "holds the version only, which goes to the metadata of the ONNX file",
    "mnistflow.arrays": "type aliases",
    "mnistflow.environment": "names of environment variables that are passed to Dask workers",
    "mnistflow.errors": "messages of runs that fail and leave no output",
    "mnistflow.checkout.digests": "names of the folders of unfinished work",
    "mnistflow.checkout.git": "metadata of the ONNX file",
    "mnistflow.paths": "names of folders; dvc.yaml has the same names, and DVC checks that the outputs exist",
    "mnistflow.registry": "finds members of an ensemble and teachers, whose sha256 are parameters of the stage",
    "mnistflow.transient": "decides whether a failed run is tried again",
    "mnistflow.tracking": "logs to MLflow, from which no stage reads",
}


def declared(stage: str) -> list[str]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [dependency for dependency in stages[stage]["deps"] if dependency.startswith("src/")]


def is_exempt(module: str) -> bool:
    return module == "mnistflow" or any(
        module == exempt or module.startswith(f"{exempt}.") for exempt in EXEMPT.keys() - {"mnistflow"}
    )


def imported(graph: grimp.ImportGraph, entry: str) -> set[str]:
    """Return the modules that are executed when the entry is imported, except what only exempt ones import."""
    found, waiting = set(), [entry]
    while waiting:
        module = waiting.pop()
        if module in found or is_exempt(module):
            continue
        found.add(module)
        waiting += graph.find_modules_directly_imported_by(module)
        parts = module.split(".")
        waiting += [".".join(parts[:depth]) for depth in range(1, len(parts))]
    return found


def file_of(module: str) -> Path:
    path = Path("src", *module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


@pytest.fixture(scope="module")
def closures() -> dict[str, set[Path]]:
    """Source files that each stage imports, relative to the checkout."""
    graph = grimp.build_graph("mnistflow", exclude_type_checking_imports=True, cache_dir=None)
    return {stage: {file_of(module) for module in imported(graph, entry)} for stage, entry in ENTRY_MODULES.items()}


@pytest.mark.parametrize("stage", ENTRY_MODULES)
def test_a_stage_depends_on_all_modules_that_it_imports(stage: str, closures: dict[str, set[Path]]) -> None:
    folders = [Path(dependency) for dependency in declared(stage)]
    missing = {path for path in closures[stage] if not any(path.is_relative_to(folder) for folder in folders)}
    assert not missing


@pytest.mark.parametrize("stage", ENTRY_MODULES)
def test_a_stage_depends_on_nothing_that_it_does_not_import(stage: str, closures: dict[str, set[Path]]) -> None:
    unused = [name for name in declared(stage) if not any(path.is_relative_to(name) for path in closures[stage])]
    assert not unused


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """A checkout in which DVC has recorded every stage with the present sources."""
    folder = tmp_path_factory.mktemp("recorded")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    Repo.init(str(folder), no_scm=True).close()
    with chdir(folder), Repo(str(folder)) as repository:
        for output in repository.index.outs:
            path = Path(output.fs_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        repository.commit(force=True)
        yield repository


@pytest.mark.long
@pytest.mark.slow
def test_a_changed_line_in_any_imported_module_runs_the_stage_again(
    recorded: Repo, closures: dict[str, set[Path]]
) -> None:
    assert recorded.status() == {}
    for path in sorted(set().union(*closures.values())):
        source = Path(recorded.root_dir, path)
        original = source.read_bytes()
        source.write_bytes(original + b"\n# a changed line\n")
        changed = set(recorded.status())
        source.write_bytes(original)
        assert {stage for stage, files in closures.items() if path in files} <= changed, path
