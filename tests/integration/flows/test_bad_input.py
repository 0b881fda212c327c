"""Invalid input of the commands: one error line, exit code 1, and nothing lost."""

import resource
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkouts import Checkout, make_checkout, write_params
from mirror import Mirror
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the digits fetched and prepared."""
    checkout = make_checkout(tmp_path_factory.mktemp("fetched") / "checkout")
    write_params(checkout, **{"fetch.dataset": "digits"})
    checkout.run("fetch")
    checkout.run("prepare")
    return checkout


@pytest.fixture
def undamaged(fetched: Checkout) -> Iterator[Checkout]:
    """The fetched checkout; checks afterwards that no file was lost or changed, and restores params.yaml."""
    params = (fetched.folder / "params.yaml").read_bytes()
    before = contents(fetched.folder / "var")
    yield fetched
    (fetched.folder / "params.yaml").write_bytes(params)
    assert contents(fetched.folder / "var") == before


def contents(folder: Path) -> dict[str, bytes]:
    kept = [path for path in folder.rglob("*") if path.is_file() and path.parent.name in {"raw", "prepared"}]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one error line."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(lines) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in done.stderr
    assert "ERROR" not in done.stderr  # Prefect does not log it before
    return lines[0]


@pytest.mark.parametrize(
    ("found", "written", "message"),
    [
        ("  patience: 4", "  patiense: 4", "train.patiense"),
        ("family: cnn", "family: cmm", "unknown family 'cmm'"),
        ("fetch:\n", "fetch: [\n", "line"),
        (None, "", "params.yaml"),
    ],
)
def test_nonsense_in_params_yaml(undamaged: Checkout, found: str | None, written: str, message: str) -> None:
    path = undamaged.folder / "params.yaml"
    text = path.read_text()
    assert found is None or found in text
    path.write_text(text.replace(found, written, 1) if found else written)
    error = error_of(undamaged.run("prepare", check=False))
    assert message in error
    assert "params.yaml" in error


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", "train.epochs"),
        ("train.epochs", "key=value"),
        ("train.epoch=5", "Did you mean train.epochs?"),
        ("epochs=5", "Did you mean train.epochs or tune.epochs?"),
        ("model.blocks=[[8]]", "Did you mean model.cnn.blocks?"),
    ],
)
def test_nonsense_in_an_override(undamaged: Checkout, override: str, message: str) -> None:
    assert message in error_of(undamaged.run("prepare", "-S", override, check=False))


def test_raw_data_of_another_data_set(undamaged: Checkout) -> None:
    overrides = ("-S", "fetch.dataset=mnist", "-S", "fetch.fallback=null")
    error = error_of(undamaged.run("prepare", *overrides, check=False))
    assert "has the data set digits, not mnist. Run `mnistflow fetch -S fetch.dataset=mnist` first." in error


def test_an_unknown_preset(undamaged: Checkout) -> None:
    error = error_of(undamaged.run("retrain", "--preset", "fats", check=False))
    assert "unknown preset 'fats'. Known: fast, compact, tiny, best" in error


@pytest.mark.parametrize("is_listening", [False, True])
def test_a_configured_prefect_api_that_does_not_answer(undamaged: Checkout, is_listening: bool) -> None:
    """Prefect itself tries again for two minutes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if is_listening:
            server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        configured = replace(undamaged, environment={**undamaged.environment, "PREFECT_API_URL": url})
        errors = [error_of(configured.run(command, check=False)) for command in ("retrain", "schedule")]
    problem = "no answer within 10 s" if is_listening else "Connection refused"
    for error in errors:
        assert f"no Prefect API answers at PREFECT_API_URL={url}: " in error
        assert problem in error
        assert error.endswith("Start that server, or unset the variable.")


def test_two_presets(undamaged: Checkout) -> None:
    assert "given twice: fast, best" in error_of(
        undamaged.run("retrain", "--preset", "fast", "--preset", "best", check=False)
    )


def test_a_corrupted_download_and_a_wrong_checksum(undamaged: Checkout, tmp_path: Path) -> None:
    folder = tmp_path / "mirror/mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b not what it says")
    wrong = {"fetch.dataset": "mnist", "fetch.mirrors": f"[{tmp_path / 'mirror'}]"}
    assert "bytes instead of 9912422" in error_of(undamaged.run("fetch", check=False, **wrong))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(bytes(9912422))
    with Mirror(tmp_path / "mirror") as mirror:
        lying = wrong | {"fetch.mirrors": f"[{mirror.url}]"}
        assert "wrong contents (sha256)" in error_of(undamaged.run("fetch", check=False, **lying))


def test_a_truncated_file(fetched: Checkout) -> None:
    path = fetched.folder / "var/data/raw/train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    try:
        error = error_of(fetched.run("prepare", check=False))
    finally:
        path.write_bytes(whole)
    assert str(path) in error
    assert "mnistflow fetch" in error


def test_a_disk_that_takes_no_more(undamaged: Checkout) -> None:
    done = subprocess.run(
        undamaged.command("prepare"),
        cwd=undamaged.folder,
        env=undamaged.environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    error = error_of(done)
    assert "var/data" in error
    assert "space" in error
    assert not [path for path in (undamaged.folder / "var/data").iterdir() if path.name.startswith(".")]


def test_a_folder_that_cannot_be_written(undamaged: Checkout) -> None:
    blocked = undamaged.folder / "var/downloads"
    blocked.rename(blocked.with_name("kept"))
    blocked.write_text("a file where a folder belongs")
    try:
        assert str(blocked) in error_of(undamaged.run("fetch", check=False))
    finally:
        blocked.unlink()
        blocked.with_name("kept").rename(blocked)


def test_images_that_are_none_get_a_line_each_and_the_others_their_answer(retrained: Checkout, tmp_path: Path) -> None:
    text, empty, blank, good = (tmp_path / name for name in ("notes.png", "empty.jpg", "blank.png", "digit.png"))
    text.write_text("no picture at all")
    empty.write_bytes(b"")
    Image.new("L", (40, 40), 255).save(blank)
    with np.load(retrained.folder / "var/models/digits-classifier/1/probe.npz") as probe:
        Image.fromarray(probe["inputs"][0]).save(good)
    bad = [text, empty, blank, tmp_path / "missing.png", tmp_path]
    done = retrained.run("predict", *map(str, [*bad, good]), check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}: ")
    errors = done.stderr.splitlines()
    assert [error.startswith(f"error: {path}") for path, error in zip(bad, errors, strict=True)] == [True] * len(bad)


def test_a_damaged_published_file_is_said_and_written_anew(retrained: Checkout) -> None:
    model = retrained.folder / "var/models/digits-classifier/1/model.onnx"
    sound = model.read_bytes()
    model.write_bytes(sound[:-1])
    assert "damaged or those of another registry: `mnistflow follow --once`" in retrained.run("status").stdout
    retrained.run("follow", "--once")
    assert model.read_bytes() == sound
    assert "damaged" not in retrained.run("status").stdout


def test_versions_and_data_sets_that_do_not_exist(retrained: Checkout) -> None:
    assert "Known: digits, " in error_of(retrained.run("leaderboard", "--dataset", "fashion", check=False))
    assert "Use one of: mnist, " in error_of(retrained.run("retrain", check=False, **{"fetch.dataset": "minst"}))
    own = {"model.family": "gan", "fetch.dataset": "letters_generation", "fetch.own": "{letters: nowhere}"}
    assert "nowhere is missing" in error_of(retrained.run("retrain", check=False, **own))
    assert "not registered" in error_of(retrained.run("shadow", "on", "--dataset", "mnist", check=False))
    assert "999" in error_of(retrained.run("promote", "999", check=False))
    assert "fashion_mnist" in error_of(retrained.run("rollback", "--dataset", "fashion_mnist", check=False))


def test_a_command_outside_of_any_checkout(retrained: Checkout, tmp_path: Path) -> None:
    done = subprocess.run(
        retrained.command("status"),
        cwd=tmp_path,
        env=retrained.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Change into the checkout first" in error_of(done)


def test_a_misspelt_variable_gets_a_warning(fetched: Checkout) -> None:
    environment = {**fetched.environment, "MNISTFLOW_MIRROR": "/data"}
    done = replace(fetched, environment=environment).run("presets")
    meant = "did you mean MNISTFLOW_MIRRORS?"
    assert done.stderr == f"warning: nothing reads the environment variable MNISTFLOW_MIRROR ({meant})\n"


def test_an_unexpected_error_ends_with_one_line_too(undamaged: Checkout) -> None:
    module = undamaged.folder / "src/mnistflow/data/prepare.py"
    module.write_text(f"{module.read_text()}\n\ndef prepare(*_):\n    raise RuntimeError('out of\\nluck')\n")
    own_sources = {**undamaged.environment, "PYTHONPATH": str(undamaged.folder / "src")}
    done = replace(undamaged, environment=own_sources).run("prepare", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: unexpected RuntimeError: out of luck"
    assert "in prepare" in done.stderr
