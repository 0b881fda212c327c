"""Model repositories on disk, valid and damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import serving_kit as kit

from serving.engine.model import Model
from serving.engine.repository import ModelEntry, ModelRepository
from serving.errors import ModelRefusedError


@pytest.fixture(scope="module")
def classifier():
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(784, 10)), random.normal(size=10)
    return kit.Classifier([weights.astype(np.float32)], [bias.astype(np.float32)])


@pytest.fixture(scope="module")
def images():
    return kit.digits()[0][:8]


@pytest.fixture
def folder(tmp_path, classifier, images):
    kit.publish(tmp_path, 3, classifier, images)
    kit.set_champion(tmp_path, 3)
    return tmp_path


def test_scan_finds_models_with_a_champion_and_nothing_else(folder, classifier, images):
    kit.publish(folder, 12, classifier, images)
    kit.publish(folder, 1, classifier, images, name="without-champion")
    for stray in ("..hidden", "with space", ".3.tmp", "naïve"):
        (folder / stray).mkdir()
        (folder / stray / "champion").write_text("1")
    (folder / "digits-classifier/007").mkdir()
    (folder / "README").write_text("a file")

    found = ModelRepository(folder).scan()

    changed = (folder / "digits-classifier/champion").stat().st_mtime_ns
    created = json.loads((folder / "digits-classifier/3/model.json").read_text())["created"]
    assert found == {"digits-classifier": ModelEntry(champion=3, changed_ns=changed, versions=(3, 12), created=created)}


def test_a_folder_that_cannot_be_read_keeps_its_entry_and_hides_no_other(folder, classifier, images, caplog):
    kit.publish(folder, 1, classifier, images, name="other")
    kit.set_champion(folder, 1, name="other")
    (folder / "never-readable/champion").mkdir(parents=True)
    repository = ModelRepository(folder)
    before = repository.scan()
    pointer = folder / "digits-classifier/champion"
    pointer.unlink()
    pointer.mkdir()
    kit.publish(folder, 2, classifier, images, name="other")

    after = repository.scan()

    assert before.keys() == after.keys() == {"digits-classifier", "other"}
    assert after["digits-classifier"] == before["digits-classifier"]
    assert after["other"].versions == (1, 2)
    repository.scan()
    reported = [record.getMessage() for record in caplog.records]
    assert len(reported) == 2
    assert all("cannot be read" in line for line in reported)
    assert {line.split(":")[0] for line in reported} == {"digits-classifier", "never-readable"}


@pytest.mark.parametrize("text", ["", "three", "-3", "3.0", "../3", "3\n4", "9" * 4000, "\u0663"])
def test_a_pointer_that_is_no_version_refuses_to_be_loaded(folder, text):
    (folder / "digits-classifier/champion").write_text(text)
    repository = ModelRepository(folder)

    assert repository.scan()["digits-classifier"].champion == 0
    with pytest.raises(ModelRefusedError, match="no version number"):
        repository.read("digits-classifier", 0)


def test_a_sound_version_computes_what_numpy_computes(folder, classifier, images):
    model = Model(ModelRepository(folder).read("digits-classifier", 3))

    given = model.run({"images": images}, ["probabilities"])["probabilities"]

    assert np.allclose(given, classifier.probabilities(images), atol=1e-5)
    assert model.is_ready()


def change_manifest(folder, **keys):
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(manifest | keys))


DAMAGES = {
    "model.json is missing": lambda version: (version / "model.json").unlink(),
    "model.onnx is missing": lambda version: (version / "model.onnx").unlink(),
    "probe.npz is missing": lambda version: (version / "probe.npz").unlink(),
    "another model or version": lambda version: change_manifest(version, version=4),
    "sha256": lambda version: (version / "model.onnx").write_bytes(b"other bytes"),
    "schema: dataset is missing": lambda version: (version / "model.json").write_text("{}"),
    "model.json is not valid JSON": lambda version: (version / "model.json").write_text("{"),
    "schema: a value has the wrong type": lambda version: (version / "model.json").write_text("[]"),
    "a datatype that is not supported": lambda version: change_manifest(
        version, inputs=[{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    ),
    "does not hold the arrays": lambda version: (version / "probe.npz").write_bytes(b"PK"),
    "its inputs are": lambda version: change_manifest(
        version, inputs=[{"name": "pictures", "datatype": "UINT8", "shape": [-1, 28, 28]}]
    ),
    "its outputs are": lambda version: change_manifest(
        version, outputs=[{"name": "probabilities", "datatype": "FP32", "shape": [-1, 11]}]
    ),
    "recorded inputs": lambda version: np.savez(
        version / "probe.npz", inputs=np.zeros((1, 784), np.uint8), outputs=np.zeros((1, 10), np.float32)
    ),
    "recorded outputs": lambda version: np.savez(
        version / "probe.npz", inputs=np.zeros((2, 28, 28), np.uint8), outputs=np.zeros((1, 10), np.float32)
    ),
    "does not reproduce": lambda version: np.savez(
        version / "probe.npz", inputs=np.zeros((1, 28, 28), np.uint8), outputs=np.zeros((1, 10), np.float32)
    ),
}


@pytest.mark.hostile
@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_version_is_refused_with_its_reason(folder, reason):
    DAMAGES[reason](folder / "digits-classifier/3")

    with pytest.raises(ModelRefusedError, match=reason) as refusal:
        Model(ModelRepository(folder).read("digits-classifier", 3))
    assert str(folder) not in str(refusal.value)


@pytest.mark.hostile
def test_a_pickle_in_the_probe_is_not_opened(folder):
    np.savez(folder / "digits-classifier/3/probe.npz", inputs=np.array([{}], object), outputs=np.zeros((1, 10)))

    with pytest.raises(ModelRefusedError, match="does not hold the arrays"):
        ModelRepository(folder).read("digits-classifier", 3)


@pytest.mark.hostile
@pytest.mark.parametrize("is_linked", [False, True], ids=["file", "hard link"])
@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_external_data_is_refused_even_where_the_file_exists(
    folder, tmp_path_factory, classifier, images, monkeypatch, place, is_linked
):
    model, weights = kit.with_external_data(classifier.onnx(), "weights.bin", as_constant=place == "constant")
    file = (tmp_path_factory.mktemp("elsewhere") if is_linked else folder) / "weights.bin"
    file.write_bytes(weights)
    if is_linked:
        (folder / "weights.bin").hardlink_to(file)
    kit.write_version(folder, 4, model, images, classifier.probabilities(images))
    monkeypatch.chdir(folder)  # the place that onnxruntime looks in by default

    with pytest.raises(ModelRefusedError, match="external data"):
        Model(ModelRepository(folder).read("digits-classifier", 4))


def test_a_model_brings_no_threads_that_could_wait_spinning(folder):
    def threads():
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    model = Model(ModelRepository(folder).read("digits-classifier", 3))
    assert model.is_ready()
    assert threads() == before
