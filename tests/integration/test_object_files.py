"""Files in an object store: found, ingested once each, known again without being read, and refused when they change."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from pyarrow import fs

from trimtab.clock import ManualClock, SystemClock
from trimtab.data import object_files
from trimtab.data.batch import open_intake
from trimtab.data.connectors.contract import Unreachable
from trimtab.data.ingest import Ingested, ingest
from trimtab.data.object_files import find_objects
from trimtab.data.rebuild import rebuild
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError, DefinitionError, StageError
from trimtab.policy.model import Checks
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Shop:
    """A bucket, and a table of its orders."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.store = fs.S3FileSystem(
            endpoint_override=endpoint.removeprefix("http://"),
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
            allow_bucket_deletion=True,
        )
        self.tables, self.metadata, self.folder = DeltaTables(folder / "t"), SqlMetadata(folder / "m.db"), folder
        self.source = FileSource("orders", "s3://shop/orders/*.csv", timestamp="at", time_zone="UTC")

    def put(self, key: str, text: str) -> None:
        with self.store.open_output_stream(f"shop/{key}") as file:
            file.write(text.encode())

    def parts(self) -> dict[str, Any]:
        stores = {"tables": self.tables, "metadata": self.metadata}
        return {"folder": self.folder, "checks": Checks(), "clock": ManualClock(dt.datetime.now(dt.UTC)), **stores}

    def ingest(self) -> list[Ingested]:
        return ingest(open_intake(self.source, **self.parts()))

    def names(self, path: str) -> list[str]:
        return [file.name for file in find_objects(FileSource("orders", path, timestamp="at"))]


@pytest.fixture
def shop(tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    made = Shop(tmp_path, endpoint)
    made.store.create_dir("shop")
    for key in ("orders/1.csv", "orders/2.csv"):
        made.put(key, f"at,x\n2026-01-0{key[7]},{key[7]}\n")
    yield made
    made.store.delete_dir("shop")


def test_objects_are_ingested_once_each_under_their_url(shop: Shop) -> None:
    assert [(one.file, one.rows_added) for one in shop.ingest()] == [
        ("s3://shop/orders/1.csv", 1),
        ("s3://shop/orders/2.csv", 1),
    ]
    assert all((one.skipped or "").startswith("already in orders@") for one in shop.ingest())
    shop.put("orders/3.csv", "at,x\n2026-01-03,3\n")
    shop.put("orders/copy.csv", "at,x\n2026-01-02,2\n")
    assert [one.rows_added for one in shop.ingest()] == [0, 0, 1, 0]
    assert shop.tables.scan("orders").collect()["x"].to_list() == [1, 2, 3]


def test_an_object_that_is_known_is_not_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_files, "SETTLED", dt.timedelta(0) - dt.timedelta(days=1))
    shop.ingest()

    def refuse(*_: object) -> None:
        raise AssertionError("an object is read")

    with monkeypatch.context() as patch:
        patch.setattr(object_files.ObjectFile, "_copy", refuse)
        assert [one.rows_added for one in shop.ingest()] == [0, 0]
    SystemClock().sleep(1.1)  # the store keeps whole seconds
    shop.put("orders/1.csv", "at,x\n2026-01-01,9\n")
    with pytest.raises(DataError, match=r"s3://shop/orders/1\.csv has changed since it was ingested as orders@0"):
        shop.ingest()


def test_a_young_object_is_read_again_since_it_may_have_changed_unseen(shop: Shop) -> None:
    shop.ingest()
    shop.put("orders/1.csv", "at,x\n2026-01-01,9\n")  # of the same size, perhaps in the same second
    with pytest.raises(DataError, match=r"1\.csv has changed since it was ingested"):
        shop.ingest()


def test_all_objects_can_be_read_again(shop: Shop) -> None:
    shop.ingest()
    shop.source = FileSource("orders", shop.source.path, timestamp="at", time_zone="Europe/Rome")
    assert rebuild(open_intake(shop.source, **shop.parts())).rows_added == 0
    assert shop.tables.scan("orders").collect()["at"][0] == dt.datetime(2025, 12, 31, 23, tzinfo=dt.UTC)


def test_paths_are_objects_folders_and_globs(shop: Shop) -> None:
    for key in ("orders/2026/01/a.csv", "orders/_x/a.csv", "orders/.y.csv", "orders/readme.txt", "other/z.csv"):
        shop.put(key, "at\n2026-01-01\n")
    one, two, deep = "s3://shop/orders/1.csv", "s3://shop/orders/2.csv", "s3://shop/orders/2026/01/a.csv"
    assert shop.names("s3://shop/orders/1.csv") == [one]
    assert shop.names("s3://shop/orders") == shop.names("s3://shop/orders/") == [one, two]
    assert shop.names("s3://shop/orders/[1]*.csv") == shop.names("s3://shop/o*/?.csv")[:1] == [one]
    assert shop.names("s3://shop/orders/**/*.csv") == [one, two, deep]
    assert shop.names("s3://shop/**/*.csv") == [one, two, deep, "s3://shop/other/z.csv"]


def test_parquet_and_json_lines_are_read_from_objects(shop: Shop, tmp_path: Path) -> None:
    pl.DataFrame({"at": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "x": [1]}).write_parquet(tmp_path / "a.parquet")
    with shop.store.open_output_stream("shop/p/a.parquet") as file:
        file.write((tmp_path / "a.parquet").read_bytes())
    shop.put("j/a.jsonl", '{"at": "2026-01-01", "x": 1}')
    for name, path in (("p", "s3://shop/p"), ("j", "s3://shop/j/*.jsonl")):
        (done,) = ingest(open_intake(FileSource(name, path, timestamp="at"), **shop.parts()))
        assert done.rows_added == 1


def test_what_is_wrong_names_the_url(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.put("orders/3.csv", "at,x\nyesterday,1\n")
    with pytest.raises(DataError, match=r"^s3://shop/orders/3\.csv: column 'at': .*'yesterday'"):
        shop.ingest()
    with pytest.raises(DataError, match=r"'s3://shop/ordres/\*\.csv' has no object that ends in \.parquet, \.csv"):
        shop.names("s3://shop/ordres/*.csv")
    with pytest.raises(DataError, match=r"source 'orders': there is no bucket 'shp' \(s3://shp/orders\)"):
        shop.names("s3://shp/orders")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match=r"s3://shop/orders: cannot be read"):
        shop.names("s3://shop/orders")


def test_an_environment_without_an_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StageError, match="az://box: the environment variable AZURE_STORAGE_ACCOUNT is not set"):
        find_objects(FileSource("orders", "az://box/orders", timestamp="at"))


@pytest.mark.parametrize(
    ("path", "hint"), [("s4://shop/x.csv", "Valid: az, gs, s3"), ("s3://", "no URL such as s3://b")]
)
def test_a_url_of_no_store_is_refused(path: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as wrong:
        FileSource("orders", path, timestamp="at")
    assert hint in str(wrong.value)
