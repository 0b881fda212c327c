"""A user's own images go the whole way, as a folder or as an .npz file, and what is added to them is noticed."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import serving_kit as kit
import yaml
from checkouts import ROOT, Checkout, make_checkout, write_params
from cluster import free_port
from PIL import Image, ImageDraw
from waiting import WAIT_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

TUTORIAL = (ROOT / "docs/tutorial/own-images.md").read_text(encoding="utf-8")
Walked = tuple[Checkout, dict[str, str]]
# Of few test images each; the means over seeds are in docs/explanation/benchmarks.md.
MIN_ACCURACY = 0.85


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of the tutorial in a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL, flags=re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == language]


def commands() -> list[list[str]]:
    """Return the commands that the tutorial prints, in their order."""
    lines = "".join(blocks("")).splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def accuracy(checkout: Checkout, name: str) -> float:
    """Return the test accuracy of the version that the repository serves."""
    folder = checkout.folder / "var/models" / name
    manifest = folder / (folder / "champion").read_text().strip() / "model.json"
    return float(json.loads(manifest.read_text())["metrics"]["accuracy"])


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Walked:
    """A checkout in which the tutorial's steps were taken as printed, and what its commands printed; none serves."""
    checkout = make_checkout(tmp_path_factory.mktemp("tutorial") / "checkout", PREFECT_API_URL=prefect_api)
    (snippet,) = blocks("python")
    checkout.python(snippet)
    letters = checkout.folder.parent / "letters"
    (letters / "five").mkdir()
    (letters / "four/notes.txt").write_text("x")
    (lines,) = blocks("yaml")
    values = yaml.safe_load(lines)["fetch"]
    write_params(checkout, **{f"fetch.{key}": json.dumps(value) for key, value in values.items()})
    printed = {}
    for program, name, *arguments in commands():
        if program == "mnistflow" and name != "serve":
            done = checkout.run(name, *arguments)
            printed[name] = done.stdout + done.stderr
    return checkout, printed


def test_three_classes_of_fifteen_images_are_learned_and_promoted(walked: Walked) -> None:
    checkout, printed = walked
    assert "promoted: letters-classifier version 1" in printed["retrain"]
    assert accuracy(checkout, "letters-classifier") >= MIN_ACCURACY
    assert "00.png: four" in printed["predict"]
    assert json.loads(checkout.run("status", "--json").stdout)["dataset"] == "letters"
    assert "WARNING:tensorflow" not in printed["retrain"]
    assert "retracing" not in printed["retrain"]


def test_what_is_not_used_is_named_at_the_end_too(walked: Walked) -> None:
    _, printed = walked
    for line in ("class folders without images (1): five", "in a class folder (1): four/notes.txt"):
        assert " ".join(printed["retrain"].split()).count(line) == 2


def test_mlflow_has_the_parameters_that_follow_from_the_size_of_the_data(
    walked: Walked,
) -> None:
    checkout, _ = walked
    found = checkout.query(
        "select key, value from params where key like 'train.%_per_epoch' or key = 'train.batch_size'"
    )
    assert set(found) == {
        ("train.batch_size", "16"),
        ("train.passes_per_epoch", "60"),
        ("train.steps_per_epoch", "102"),
    }


def test_the_server_answers_for_the_new_model(walked: Walked) -> None:
    checkout, _ = walked
    *_, serve, curl = commands()
    image = checkout.folder / curl[2].removeprefix("@")
    path = curl[3].removeprefix("localhost:8000")
    assert serve == ["mnistflow", "serve"]
    port = free_port()
    elsewhere = replace(checkout, environment={**checkout.environment, "MNISTFLOW_SERVE_PORT": str(port)})
    server = elsewhere.start("serve")
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/v2/health/ready").is_success
        except httpx.TransportError:
            return False

    wait_until(answers)
    answer = httpx.post(url + path, content=image.read_bytes(), timeout=WAIT_SECONDS).json()
    assert (answer["model"], answer["class_name"]) == ("letters-classifier", "four")
    server.terminate()
    server.wait()


def test_the_same_images_as_an_npz_file_and_what_is_added(walked: Walked) -> None:
    checkout, _ = walked
    letters = checkout.folder.parent / "letters"
    pictures = sorted(letters.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in pictures])
    np.savez(checkout.folder / "var/letters.npz", x=pixels, y=[path.parent.name for path in pictures])
    same = checkout.run("retrain", **{"fetch.own": "{letters: var/letters.npz}"})
    assert "fetch: done" in same.stderr
    assert "train: unchanged" in same.stderr
    assert "letters-classifier version 1" in same.stdout
    (letters / "zero/again.png").write_bytes(next((letters / "zero").glob("*.png")).read_bytes())
    assert "fetch done, prepare done" in checkout.run("ingest").stdout
    assert "fetch unchanged, prepare unchanged" in checkout.run("ingest").stdout


def draw_shapes(folder: Path, each: int) -> None:
    """Write circles, squares and crosses of several sizes and places, dark on white."""
    random = np.random.default_rng(0)
    for name in ("circle", "square", "cross"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = Image.new("L", (96, 96), 255)
            pen, (x, y), size = ImageDraw.Draw(image), random.integers(38, 58, 2), int(random.integers(16, 30))
            box = [(x - size, y - size), (x + size, y + size)]
            if name == "cross":
                pen.line(box, fill=0, width=7)
                pen.line([(x - size, y + size), (x + size, y - size)], fill=0, width=7)
            else:
                (pen.ellipse if name == "circle" else pen.rectangle)(box, outline=0, width=7)
            image.save(folder / name / f"{number:02}.png")


def test_three_classes_of_forty_images_are_learned_and_served(walked: Walked) -> None:
    """Another data set in the same checkout; `/predict` goes on answering with the first."""
    checkout, _ = walked
    draw_shapes(checkout.folder.parent / "shapes", 40)
    done = checkout.run("retrain", **{"fetch.dataset": "shapes", "fetch.own": "{shapes: ../shapes}"})
    assert "promoted: shapes-classifier version 1" in done.stdout
    assert accuracy(checkout, "shapes-classifier") >= MIN_ACCURACY
    with kit.Server(checkout.folder / "var/models") as server:
        described = server.client.get("/predict").json()
        assert described["model"] == "letters-classifier"
        assert described["models"] == ["letters-classifier", "shapes-classifier"]
        picture = (checkout.folder.parent / "shapes/cross/00.png").read_bytes()
        assert server.client.post("/predict/shapes-classifier", content=picture).json()["class_name"] == "cross"
