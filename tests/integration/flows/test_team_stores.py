"""PostgreSQL and S3 instead of SQLite and folders: DVC's remote, artifacts without a proxy, and migrations."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tracking_server
from checkouts import QUICK, Checkout, copy_checkout, make_checkout, write_params
from cluster import postgresql
from tracking_server import BUCKET

from mnistflow import files

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]

NAME = "digits-classifier"
# No credentials from files or from a cloud's machine.
ANONYMOUS = {
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "1",
}


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
    assert not list((checkout.folder / "var").glob("models/*"))


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


@contextmanager
def hidden(*folders: Path) -> Iterator[None]:
    """Rename folders in the block; what was made in their place is removed."""
    aside = {folder: folder.rename(folder.with_name(f"{folder.name}.aside")) for folder in folders}
    try:
        yield
    finally:
        for folder, renamed in aside.items():
            shutil.rmtree(folder, ignore_errors=True)
            renamed.rename(folder)


def leaderboard(checkout: Checkout) -> list[Any]:
    found: list[Any] = json.loads(checkout.run("leaderboard", "--json").stdout)
    return found


def test_a_store_goes_to_postgresql_and_s3_and_back(retrained: Checkout, tmp_path: Path, s3: dict[str, str]) -> None:
    origin = copy_checkout(retrained.folder, tmp_path / "origin")
    before = leaderboard(origin)
    local = replace(origin, environment={**origin.environment, **s3})
    with postgresql() as database:
        moved = local.run("migrate", database, f"s3://{BUCKET}/migrated")
        assert "1 models, " in moved.stdout
        assert "read back, complete" in moved.stdout
        assert "runs or models already" in local.run("migrate", database, f"s3://{BUCKET}/other", check=False).stderr
        remote = replace(local, environment={**local.environment, "MLFLOW_TRACKING_URI": database})
        with hidden(origin.folder / "var/mlflow", origin.folder / "var/models"):
            assert leaderboard(remote) == before
            assert "champion: " in remote.run("promote", "1").stdout
            assert (origin.folder / "var/models" / NAME / "1/model.onnx").is_file()
            remote.run("retrain", **{"train.epochs": "1", "tune.trials": "0", "train.learning_rate": "0.0003"})
            added = leaderboard(remote)
            assert len(added) == len(before) + 1
            remote.run("migrate", f"sqlite:///{tmp_path}/back/mlflow.db", f"{tmp_path}/back/artifacts")
    back = replace(
        origin, environment={**origin.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/back/mlflow.db"}
    )
    with hidden(origin.folder / "var/mlflow", origin.folder / "var/models"):
        assert leaderboard(back) == added
        back.run("compare", "1", "2")
        assert "champion: " in back.run("promote", "2").stdout
    with closing(sqlite3.connect(tmp_path / "back/mlflow.db")) as store:
        locations = {uri for (uri,) in store.execute("select artifact_uri from runs")}
    assert all(uri.startswith((tmp_path / "back/artifacts").as_uri()) for uri in locations)
