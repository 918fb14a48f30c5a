"""JSON lines: one column a key, nothing is rounded, and what does not fit is named with its line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.data.batch import open_intake
from trimtab.data.file_reading import read_file
from trimtab.data.ingest import Ingested, ingest
from trimtab.data.json_rows import read_json_lines, table_of
from trimtab.data.label_files import column_names
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError
from trimtab.policy.model import Checks
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def read(tmp_path: Path, text: str, **options: Any) -> pl.DataFrame:
    path = tmp_path / "x.jsonl"
    path.write_text(text, encoding="utf-8")
    source = FileSource("x", "x.jsonl", timestamp="at", **options)
    return pl.DataFrame(read_file(path, source, like=None, keys=source.key).rows)


def test_values_become_columns_of_their_types(tmp_path: Path) -> None:
    frame = read(
        tmp_path,
        '{"at":"2026-01-01T13:00:00+01:00","id":7.0,"n":1,"x":2.5,"ok":true,"s":"é","who":{"name":"A","home":{"zip":1}}}\n'
        "\n"
        '{"at":"2026-01-01T12:00:00Z","id":8,"x":3,"who":null,"tags":["a",{"b":1}],"zip":"007"}\n',
        key=["id"],
        dtypes={"n": "text"},
    )
    assert frame.to_dict(as_series=False) == {
        "at": [NOON, NOON],
        "id": [7, 8],
        "n": ["1", None],
        "x": [2.5, 3.0],
        "ok": [True, None],
        "s": ["é", None],
        "who__name": ["A", None],
        "who__home__zip": [1, None],
        "tags": [None, '["a",{"b":1}]'],
        "zip": [None, "007"],
    }
    assert column_names(tmp_path / "x.jsonl", FileSource("x", "x.jsonl", timestamp="at")) == [
        *("at", "id", "n", "x", "ok", "s", "who__name", "who__home__zip", "tags", "zip")
    ]


def test_whole_numbers_are_exact(tmp_path: Path) -> None:
    frame = read(
        tmp_path, '{"at":1767268800000000,"a":9007199254740993,"b":1}\n{"at":1767268800000000,"b":18446744073709551616}'
    )
    assert frame["a"].to_list() == [9007199254740993, None]
    assert frame["b"].to_list() == ["1", "18446744073709551616"]
    assert frame["at"].to_list() == [NOON, NOON]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"at":1}\n{"at":2\n', "line 2: '{\"at\":2' is not a JSON object: Input data was truncated"),
        ('{"at":1}\n[1]\n', "line 2: '[1]' is not a JSON object: Expected `object`, got `array`"),
        ('[\n{"at":1}]\n', "line 1: '[' is not a JSON object"),
        ('[\n{"at":1}]\n', "Is the file one JSON array? Expected an object on each line"),
        ('{"at":NaN}', "line 1: '{\"at\":NaN}' is not a JSON object"),
        ('{"a":1}\n\n{"a":"x"}', "line 3: column 'a' is 'x', and integers in rows before; to keep it as text"),
        ('{"a":true}\n{"a":2}', "line 2: column 'a' is 2, and booleans in rows before"),
        ('{"a":1}\n{"a":[1]}', "line 2: column 'a' is '[1]', and integers in rows before"),
        ('{"a":{"b":1},"a__b":2}', "line 1: two keys give the column 'a__b'"),
        (
            '{"a":9007199254740993}\n{"a":0.5}',
            "line 1: column 'a' is 9007199254740993; expected at most 9007199254740992",
        ),
        ('{"a":1}', "there is no column 'at', which source 'x' names"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as wrong:
        read(tmp_path, text)
    assert message in str(wrong.value)
    assert "x.jsonl" in str(wrong.value)


def test_a_file_in_another_encoding_is_refused_or_read_by_it(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes('{"s":"é"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match="line 1 or one soon after it is not in the encoding utf-8"):
        read_json_lines(path)
    assert read_json_lines(path, encoding="latin-1")["s"].to_pylist() == ["é"]
    path.write_bytes(b"\xef\xbb\xbf" + b'{"s":1}\n')
    assert read_json_lines(path)["s"].to_pylist() == [1]


def test_a_later_file_may_lack_keys_and_has_the_types_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    source = FileSource("orders", "data/*.jsonl", timestamp="at")
    tables, metadata = DeltaTables(tmp_path / "tables"), SqlMetadata(tmp_path / "m.db")

    def take(name: str, *rows: dict[str, Any]) -> list[Ingested]:
        (tmp_path / "data" / name).write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
        parts = {"folder": tmp_path, "checks": Checks(), "tables": tables, "metadata": metadata}
        return ingest(open_intake(source, clock=ManualClock(NOON), **parts))  # type: ignore[arg-type]  # parts of several types

    take("1.jsonl", {"at": "2026-01-01", "x": 1.5, "city": "Rome"})
    take("2.jsonl", {"at": "2026-01-02", "x": 2}, {"at": "2026-01-03"})
    rows = tables.scan("orders").collect()
    assert rows["x"].to_list() == [1.5, 2.0, None]
    assert rows["city"].to_list() == ["Rome", None, None]
    with pytest.raises(DataError, match=r"3.jsonl: its columns differ .*\n  \+ town: string is new"):
        take("3.jsonl", {"at": "2026-01-02", "town": "Rome"})


values = st.none() | st.integers(-(2**70), 2**70)
scalars = st.one_of(
    values,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.text(),
    st.none() | st.booleans(),
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), values, max_size=3), max_size=6))
def test_each_whole_number_comes_back_exactly(rows: list[dict[str, int | None]]) -> None:
    table = table_of(rows)
    for name in table.column_names:
        found = [None if value is None else int(value) for value in table[name].to_pylist()]
        assert found == [row.get(name) for row in rows]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), scalars, max_size=3), max_size=6))
def test_texts_of_any_values_come_back(rows: list[dict[str, Any]]) -> None:
    table = table_of(rows, texts={"a", "b", "c"})
    for name in table.column_names:
        wanted = [row.get(name) for row in rows]
        if table[name].type == pa.null():
            assert not any(value is not None for value in wanted)
            continue
        for value, text in zip(wanted, table[name].to_pylist(), strict=True):
            assert text == value if value is None or isinstance(value, str) else msgspec.json.decode(text) == value
