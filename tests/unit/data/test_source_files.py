"""Finding and hashing the files of a source."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from trimtab.data.local_file import file_hash, unchanged
from trimtab.data.source_files import find_files
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError


def source(path: str) -> FileSource:
    return FileSource("flights", path, timestamp="at")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("a.parquet", "b.parquet", "notes.txt", ".hidden.csv", "_tmp.parquet"):
        (tmp_path / "data" / "flights").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "flights" / name).write_text(name)
    (tmp_path / "data" / "weather.csv").write_text("x")
    return tmp_path


def names(project: Path, path: str) -> list[str]:
    return [file.name for file in find_files(source(path), project)]


def test_one_file(project: Path) -> None:
    assert names(project, "data/weather.csv") == ["data/weather.csv"]


@pytest.mark.parametrize("path", ["data/flights", "data/flights/", "data/flights/*"])
def test_a_folder_stands_for_its_data_files_in_order_of_name(project: Path, path: str) -> None:
    assert names(project, path) == ["data/flights/a.parquet", "data/flights/b.parquet"]


def test_a_glob(project: Path) -> None:
    assert names(project, "data/*/*.parquet") == ["data/flights/a.parquet", "data/flights/b.parquet"]


def test_two_stars_are_folders_of_any_depth_without_hidden_ones(project: Path) -> None:
    for name in ("2025/01/x.parquet", "2025/y.parquet", "_delta_log/z.parquet", "2025/.cache/z.parquet"):
        (project / "data" / "flights" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "data" / "flights" / name).write_text(name)
    deep = ["data/flights/2025/01/x.parquet", "data/flights/2025/y.parquet"]
    assert names(project, "data/flights/**/*.parquet") == [*deep, *names(project, "data/flights")]


def test_an_absolute_path(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.csv"
    elsewhere.write_text("x")
    assert names(project, str(elsewhere)) == [str(elsewhere)]


def test_a_missing_file_shows_its_path_and_the_nearest_name(project: Path) -> None:
    with pytest.raises(DataError, match=r"there is no '.*/data/wether.csv'.*Did you mean 'weather.csv'"):
        find_files(source("data/wether.csv"), project)


def test_a_missing_folder_shows_the_last_one_that_exists(project: Path) -> None:
    with pytest.raises(DataError, match=rf"nearest folder that exists is '{project}'. Did you mean 'data'"):
        find_files(source("dta/flights/x.csv"), project)


def test_a_glob_without_a_match_is_an_error(project: Path) -> None:
    with pytest.raises(DataError, match=r"no file that ends in \.parquet, \.csv, \.jsonl, \.ndjson"):
        find_files(source("data/flights/2013-*.parquet"), project)


def test_a_folder_without_data_is_an_error(project: Path) -> None:
    (project / "empty").mkdir()
    with pytest.raises(DataError, match=r"source 'flights': '.*empty' has no file"):
        find_files(source("empty"), project)


def test_the_hash_is_the_sha_256_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"content" * 100_000)
    assert file_hash(path) == hashlib.sha256(b"content" * 100_000).hexdigest()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a")
    with pytest.raises(DataError, match="changed while it was read"), unchanged(path):
        path.write_text("ab")
