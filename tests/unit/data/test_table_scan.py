"""Tables on disk that belong to no project are opened by what they contain."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from trimtab.data.table_scan import scan_table
from trimtab.errors import DataError

FRAME = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def test_parquet_csv_folder_glob_and_delta_give_the_same_rows(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "one.parquet")
    FRAME.write_csv(tmp_path / "one.csv")
    (tmp_path / "one.csv.gz").write_bytes(gzip.compress((tmp_path / "one.csv").read_bytes()))
    (tmp_path / "folder").mkdir()
    FRAME.head(1).write_parquet(tmp_path / "folder" / "1.parquet")
    FRAME.tail(2).write_parquet(tmp_path / "folder" / "2.parquet")
    write_deltalake(tmp_path / "delta", FRAME.to_arrow())
    for name in ("one.parquet", "one.csv", "one.csv.gz", "folder", "folder/*.parquet", "delta"):
        assert scan_table(tmp_path / name).frame.collect().equals(FRAME), name


def test_a_folder_of_folders_is_read_whole(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        FRAME.write_parquet(tmp_path / name / "part.parquet")
    found = scan_table(tmp_path)
    assert (found.files, found.frame.collect().height) == (2, 6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_and_byte_order_mark_are_found(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(FRAME.write_csv(separator=separator), encoding=encoding)
    assert scan_table(path).frame.collect().equals(FRAME)


def test_decimal_commas_are_found_and_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n1,5;x\n2;y\n")
    found = scan_table(path)
    assert found.frame.collect()["a"].to_list() == [1.5, 2.0]
    assert found.notes[1].endswith("read with decimal commas")


def test_a_number_that_becomes_text_late_is_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 11_000 + "oops,3\n")
    assert dict(scan_table(path).frame.collect_schema()) == {"a": pl.String, "b": pl.Int64}


def test_codes_with_leading_zeros_are_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("zip,n\n01234,0\n99999,1\n")
    found = scan_table(path)
    assert dict(found.frame.collect_schema()) == {"zip": pl.String, "n": pl.Int64}
    assert "leading zeros: zip" in found.notes[0]


def test_named_columns_are_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("zip,n\n1234,0\n")
    assert scan_table(path, texts=["zip"]).frame.collect()["zip"].to_list() == ["1234"]


def test_files_whose_columns_differ_become_one_table(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "c": ["x"]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [1.5], "c": [2], "d": [True]}).write_parquet(tmp_path / "2.parquet")
    found = scan_table(tmp_path)
    assert found.frame.collect().to_dict(as_series=False) == {"a": [1.0, 1.5], "c": ["x", "2"], "d": [None, True]}
    assert any("'c' is String in some files and Int64 in others (2.parquet)" in note for note in found.notes)
    assert any("only 1 of 2 files have 'd'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.parquet", b"", "the file is empty"),
        ("t.parquet", b"nonsense", "not a Parquet file"),
        ("t.csv", b"a,a\n1,2\n", "the column 'a' appears twice"),
        ("t.csv", b"a,b\n1,2,3\n", "found more fields"),
        ("t.csv", b"1,2\n3,4\n", "its first line has numbers (1, 2); expected the names of the columns"),
        ("t.csv", "a\né\n".encode("latin-1"), "Line 2 is not utf-8"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        scan_table(path).frame.collect()
    assert str(path) in str(refused.value)
    assert message in str(refused.value)


def test_a_path_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "march.parquet")
    with pytest.raises(DataError, match=r"Did you mean 'march\.parquet'\?"):
        scan_table(tmp_path / "marsh.parquet")
    with pytest.raises(DataError, match="has no file that ends in"):
        scan_table(tmp_path / "*.orc")


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "1.parquet")
    FRAME.write_csv(tmp_path / "2.csv")
    with pytest.raises(DataError, match="expected files of one kind"):
        scan_table(tmp_path)
