"""PostgreSQL and S3 instead of SQLite and folders: DVC's remote, artifacts without a proxy, and migrations."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import serving_kit as kit
import tracking_server
from checkouts import QUICK, Checkout, make_checkout, write_params
from cluster import postgresql
from configured import configured
from tracking_server import BUCKET

from mnistflow import files
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import promotion, versions
from mnistflow.tracking import migration
from mnistflow.tracking.records import RunQuery
from mnistflow.tracking.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.long]

NAME = "digits-classifier"
# No credentials from a cloud's machine.
ANONYMOUS = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with tracking_server.s3_server() as environment:
        yield environment


def objects(s3: Mapping[str, str], prefix: str) -> list[str]:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=s3["AWS_ENDPOINT_URL"], aws_access_key_id="key", aws_secret_access_key="secret"
    )
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())]


@pytest.mark.parametrize("url", [f"s3://{BUCKET}/dvc", "azure://container/dvc"])
def test_a_remote_without_credentials_or_driver_is_one_line_before_anything_starts(
    checkout: Checkout, s3: dict[str, str], url: str
) -> None:
    write_params(checkout, **QUICK)
    checkout.tool("dvc", "remote", "modify", "--local", "local", "url", url)
    environment = {**checkout.environment, **ANONYMOUS, "AWS_ENDPOINT_URL": s3["AWS_ENDPOINT_URL"]}
    refused = replace(checkout, environment=environment).run("retrain", check=False)
    assert refused.returncode == 1
    assert "DVC's remote cannot be written: " in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert checkout.query("select count(*) from runs") in ([], [(0,)])
    assert not list((checkout.folder / "var").glob("models/*/*"))


def test_a_retraining_with_all_stores_in_s3(tmp_path: Path, s3: dict[str, str]) -> None:
    """The tracking server gives access to no artifacts: each machine reads and writes the bucket itself."""
    direct = ("--no-serve-artifacts", "--default-artifact-root", f"s3://{BUCKET}/mlflow")
    with tracking_server.tracking_server(tmp_path / "mlflow", *direct, **s3) as mlflow:
        uri = {"MLFLOW_TRACKING_URI": mlflow.url}
        with (
            closing(make_checkout(tmp_path / "one", **uri, **s3)) as one,
            closing(make_checkout(tmp_path / "other", **uri, **s3)) as other,
        ):
            for checkout in (one, other):
                write_params(checkout, **{**QUICK, "tune.trials": "0", "train.epochs": "3"})
            one.tool("dvc", "remote", "modify", "--local", "local", "url", f"s3://{BUCKET}/dvc")
            one.run("retrain")
            assert [name for name in objects(s3, "mlflow/") if name.endswith("model.onnx")]
            assert len(objects(s3, "dvc/files/md5/")) > 5
            other.run("follow", "--once")
            assert (other.folder / "var/models" / NAME / "champion").read_text() == "1\n"
            copies = [checkout.folder / "var/models" / NAME / "1/model.onnx" for checkout in (one, other)]
            assert files.sha256(copies[0]) == files.sha256(copies[1])


def records() -> str:
    """Return what the store has of runs, versions and aliases, as text: NaN differs from itself."""
    store = open_store()
    return repr((store.search_runs(RunQuery("digits")), store.versions(NAME), store.model(NAME)))


def test_a_store_goes_to_postgresql_and_s3_and_back(
    tmp_path: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    images, _ = kit.digits()
    paths = Paths(tmp_path / "checkout", tmp_path / "checkout")
    with configured(paths), postgresql() as database:
        for seed in range(2):
            tracking_server.register(paths, "digits", kit.untrained(seed), images)
        promotion.promote(paths, NAME, 1)
        source, before = os.environ["MLFLOW_TRACKING_URI"], records()
        done = migration.migrate(source, database, None, f"s3://{BUCKET}/migrated", served=False)
        assert (done.rows["model_versions"], done.rows["runs"]) == (2, 2)
        assert done.files == done.copied == len(objects(s3, "migrated/"))
        with pytest.raises(RegistryError, match="holds runs or models already"):
            migration.migrate(source, database, None, f"s3://{BUCKET}/migrated", served=False)
        files.remove(paths.mlflow)
        files.remove(paths.models)

        monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
        assert records() == before
        assert promotion.promote(paths, NAME, 2).number == 2
        assert files.sha256(paths.models / NAME / "2/model.onnx") == versions.find(NAME, 2).sha256
        assert tracking_server.register(paths, "digits", kit.untrained(2), images).number == 3

        after, back = records(), f"sqlite:///{tmp_path}/back/mlflow.db"
        migration.migrate(database, back, None, f"{tmp_path}/back/artifacts", served=False)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", back)
        assert records() == after
        assert promotion.promote(paths, NAME, 3).number == 3
        with closing(sqlite3.connect(tmp_path / "back/mlflow.db")) as store:
            locations = {uri for (uri,) in store.execute("select artifact_uri from runs")}
        assert locations and all(uri.startswith((tmp_path / "back/artifacts").as_uri()) for uri in locations)
