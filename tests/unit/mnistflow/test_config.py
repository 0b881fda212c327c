"""params.yaml: what is refused, and how; overrides for one run."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from checkouts import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistflow import config
from mnistflow.config import Config
from mnistflow.errors import ConfigError

PARAMS = ROOT / "params.yaml"


@pytest.fixture(scope="module")
def params() -> Config:
    return config.load(PARAMS)


def written(folder: Path, key: str, value: object) -> Path:
    tree = yaml.safe_load(PARAMS.read_text())
    *parents, last = key.split(".")
    section = tree
    for parent in parents:
        section = section[parent]
    section[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("train.epochs", 0, "greater than 0 (got 0)"),
        ("train.epochs", "five", "valid integer (got 'five')"),
        ("train.epochs", 2.5, "valid integer"),
        ("train.speed", 1, "unknown key"),
        ("train.learning_rate", -1, "greater than 0"),
        ("model.family", "transformer", "unknown family 'transformer'; known: linear, mlp, cnn"),
        ("model.cnn.dropout", 1.0, "less than 1"),
        ("model.cnn.blocks", [[0]], "greater than 0"),
        ("prepare.validation_fraction", 1.5, "less than 1"),
        ("export.opset", 19, "less than or equal to 18"),
        ("fetch.dataset", "../etc", "match pattern"),
        ("tune.space.cnn", {"train.speed": {"low": 1, "high": 2}}, "is not a key of model.cnn or train"),
        ("tune.space.cnn", {"train.learning_rate": {"low": 2, "high": 1}}, "low <= high"),
        ("tune.space.cnn", {"train.epochs": {"choices": [3, 4]}}, "train.epochs: cannot be searched, because every"),
        ("tune.space.cnn", {"train.online": {"choices": [True]}}, "train.online: cannot be searched, because every"),
        ("tune.space.cnn", {"model.cnn.kernel": {"low": 3, "high": 5.5}}, "kernel: Input should be a valid integer"),
        ("tune.space.cnn", {"model.cnn.activation": {"choices": ["relu", "foo"]}}, "'gelu' (got 'foo')"),
        ("tune.space.cnn", {"train.learning_rate": {"low": -1, "high": 3}}, "greater than 0 (got -1)"),
        (
            "tune.space.cnn",
            {"train.learning_rate": {"low": 1, "high": float("inf")}},
            "learning_rate.high: Input should",
        ),
        ("tune.space.mlp", {"train.augment.shift": {"low": 0, "high": 1}}, "shift: Input should be less than 1"),
        ("train.schedule", "sawtooth", "'constant', 'cosine' or 'one_cycle'"),
        ("train.augment.rotation", -1, "greater than or equal to 0"),
        ("model.mlp.initializer", "zeros", "'glorot_uniform'"),
        ("presets.fast", {"train.speed": 1}, "presets.fast: override train.speed: no such key"),
        ("presets.fast", {"train.epochs": 0}, "presets.fast: the overridden parameters: train.epochs"),
        ("tune.scheduler", "127.0.0.1:8786", "not an address of a Dask scheduler, such as tcp://127.0.0.1:8786"),
        ("tune.scheduler", "tcp://head", "(got 'tcp://head')"),
        ("tune.scheduler", "tcp://head:65536", "not an address"),
        ("tune.scheduler", "tcp://[::1:8786", "not an address"),
        ("tune.scheduler", "http://head:8786", "not an address"),
        ("tune.scheduler", "tcp://head:8786/", "not an address"),
        ("tune.pruner", "hope", "'median', 'hyperband', 'halving' or 'none'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key_and_the_reason(tmp_path, key, value, reason) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(written(tmp_path, key, value))
    message = str(caught.value)
    assert key.rpartition(".")[0] in message
    assert reason in message
    assert "\n" not in message


def test_a_missing_key_is_named(tmp_path) -> None:
    tree = yaml.safe_load(PARAMS.read_text())
    del tree["train"]["patience"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"train\.patience: is missing"):
        config.load(tmp_path / "params.yaml")


def test_what_a_file_from_before_an_update_lacks_is_named_with_its_default_and_place(tmp_path) -> None:
    path = tmp_path / "params.yaml"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    shutil.copy(PARAMS, path)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "new"]):
        subprocess.run([*git, *command], check=True)
    tree = yaml.safe_load(PARAMS.read_text())
    default = tree["train"].pop("patience")
    path.write_text(yaml.safe_dump(tree))
    subprocess.run([*git, "commit", "-qam", "old"], check=True)
    with pytest.raises(
        ConfigError, match=rf"train\.patience: is missing\. Add .*`patience: {default}` in section `train`"
    ):
        config.load(path)
    del tree["gate"]
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"in section `train`; the section `gate` of `git show [0-9a-f]{12}:params"):
        config.load(path)


@pytest.mark.parametrize("content", ["train: [", "", "- 1", "\x00"])
def test_what_is_no_params_file_is_one_line(tmp_path, content) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "params.yaml")
    assert str(tmp_path / "params.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_is_one_line(tmp_path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        config.load(tmp_path / "params.yaml")


def test_the_id_of_a_run_is_a_text_although_it_begins_like_a_number() -> None:
    """As YAML 1.2 has it: `900e8` is a number, the same with more behind it is none."""
    values = config.parse_overrides(["model.ensemble.members=[3, 900e8dbbd1124331]", "train.min_delta=1e-5"])
    assert values == {"model.ensemble.members": [3, "900e8dbbd1124331"], "train.min_delta": 1e-5}


@settings(deadline=None)
@given(epochs=st.integers(1, 10**6), rate=st.floats(1e-6, 1.0), units=st.lists(st.integers(1, 999), max_size=3))
def test_overrides_arrive(params, epochs, rate, units) -> None:
    overridden = params.with_values(
        config.parse_overrides([f"train.epochs={epochs}", f"train.learning_rate={rate!r}", f"model.mlp.units={units}"])
    )
    assert overridden.train.epochs == epochs
    assert overridden.train.learning_rate == pytest.approx(rate)
    assert overridden.model.mlp.units == tuple(units)


@pytest.mark.parametrize("assignment", ["train.epochs", "=5", "train.epoch=5", "train.epochs=[", "epochs=5", "a.b.c=1"])
def test_a_wrong_override_is_one_line(assignment) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(PARAMS).with_values(config.parse_overrides([assignment]))
    assert "\n" not in str(caught.value)


def test_writing_overrides_leaves_the_source_alone(tmp_path) -> None:
    before = PARAMS.read_bytes()
    config.write_with_overrides(PARAMS, tmp_path / "same.yaml", {})
    config.write_with_overrides(PARAMS, tmp_path / "other.yaml", {"train.epochs": 3})
    assert (tmp_path / "same.yaml").read_bytes() == before == PARAMS.read_bytes()
    assert config.load(tmp_path / "other.yaml") == config.load(PARAMS).with_values({"train.epochs": 3})
    with pytest.raises(ConfigError):
        config.write_with_overrides(PARAMS, tmp_path / "bad.yaml", {"train.epochs": 0})
    assert not (tmp_path / "bad.yaml").exists()


@pytest.mark.parametrize("preset", config.load(PARAMS).presets)
def test_a_run_reads_the_parameters_that_its_plan_has_checked(params, tmp_path, preset) -> None:
    values = {**params.preset(preset), "train.augment.shift": 0.05, "train.augment.lines": 1}
    written_config = config.write_with_overrides(PARAMS, tmp_path / "run.yaml", values)
    assert config.load(tmp_path / "run.yaml") == written_config == params.with_values(values)
    assert written_config.train.augment.shift == 0.05


@pytest.mark.parametrize("values", [["train.augment={}", "train.augment.shift=0.1"], ["train.augment.shift=0.1"]])
def test_an_override_of_a_key_whose_default_is_left_out(tmp_path, values) -> None:
    source = written(tmp_path, "train.augment", {"rotation": 5.0})
    overrides = config.parse_overrides(values)
    config.write_with_overrides(source, tmp_path / "run.yaml", overrides)
    assert config.load(tmp_path / "run.yaml") == config.load(source).with_values(overrides)
    assert config.load(tmp_path / "run.yaml").train.augment.shift == 0.1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tls://head.example:8786"])
def test_addresses_of_schedulers(params, address) -> None:
    assert params.with_values({"tune.scheduler": address}).tune.scheduler == address


def test_pytorch_goes_step_by_step() -> None:
    with pytest.raises(ConfigError, match="steps_per_execution: must be 1 with backend torch"):
        config.load(PARAMS).with_values({"train.backend": "torch", "train.steps_per_execution": 2})


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'fats'.*fast, compact, tiny, best, best_box, best_upright"):
        config.load(PARAMS).preset("fats")
