"""CSV as programs of many countries write it, and errors that name the option that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.data.file_reading import read_file
from trimtab.data.label_files import OutcomeColumns, column_names, read_outcomes
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError

SEMICOLONS = "at;price;note\n2024-01-01T00:00Z;1,5;a\n2024-01-02T00:00Z;2;Müller\n"
ROWS = [{"price": 1.5, "note": "a"}, {"price": 2.0, "note": "Müller"}]


def rows(tmp_path: Path, content: str | bytes, **options: Any) -> list[dict[str, Any]]:
    path = tmp_path / "file.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = read_file(path, FileSource("s", "file.csv", timestamp="at", **options), like=None).rows
    return list(found.drop_columns(["at"]).to_pylist())


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (SEMICOLONS, {"separator": ";", "decimal": ","}),
        (SEMICOLONS.encode("latin-1"), {"separator": ";", "decimal": ",", "encoding": "latin-1"}),
        (SEMICOLONS.encode("utf-16"), {"separator": ";", "decimal": ",", "encoding": "utf-16"}),
        (SEMICOLONS.encode("utf-8-sig"), {"separator": ";", "decimal": ","}),
        (SEMICOLONS.encode("utf-8-sig"), {"separator": ";", "decimal": ",", "encoding": "utf-8-sig"}),
        (SEMICOLONS.replace("\n", "\r\n"), {"separator": ";", "decimal": ","}),
        (SEMICOLONS.replace(";", "\t"), {"separator": "\t", "decimal": ","}),
        (SEMICOLONS.replace(";", "|").replace(",", "."), {"separator": "|"}),
        (SEMICOLONS.replace(",", ".").replace(";", ","), {}),
        (SEMICOLONS.replace("1,5", '"1,5"').replace(";", ","), {"separator": ",", "decimal": "."}),
    ],
)
def test_the_options_read_what_programs_write(tmp_path: Path, content: str | bytes, options: dict[str, Any]) -> None:
    found = rows(tmp_path, content, **options)
    if options.get("decimal") == "." and '"1,5"' in str(content):  # a comma is no decimal mark until it is named
        assert [row["price"] for row in found] == ["1,5", "2"]
    else:
        assert found == ROWS


def test_quoted_fields_may_hold_line_breaks_separators_and_quotes(tmp_path: Path) -> None:
    text = 'at;note\n2024-01-01T00:00Z;"two\nlines; and ""quotes"""\n2024-01-02T00:00Z;one\n'
    assert rows(tmp_path, text, separator=";") == [{"note": 'two\nlines; and "quotes"'}, {"note": "one"}]


@pytest.mark.parametrize(
    ("text", "decimal", "values"),
    [
        ("1,5|-2,25|", ",", [1.5, -2.25, None]),
        ("1,5|NaN|1e3", ",", [1.5, None, 1000.0]),
        ("1.234,5|2,0|", ",", ["1.234,5", "2,0", None]),
        ("1.000|2|3", ",", ["1.000", "2", "3"]),
        ("1.000|2|3", ".", [1.0, 2.0, 3.0]),
        ("1,0|2|3", ",", [1.0, 2.0, 3.0]),
    ],
)
def test_decimal_commas(tmp_path: Path, text: str, decimal: str, values: list[Any]) -> None:
    content = "at;x\n" + "".join(f"2024-01-01T00:00Z;{value}\n" for value in text.split("|"))
    found = [row["x"] for row in rows(tmp_path, content, separator=";", decimal=decimal)]
    assert (found, [type(one) for one in found]) == (values, [type(one) for one in values])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            SEMICOLONS,
            {},
            r"read with separator ',', but its first line has ';' 2 times: FileSource\(..., separator=';'",
        ),
        (SEMICOLONS.replace(";", "\t"), {}, r"its first line has '\\t' 2 times: FileSource\(..., separator='\\t'\)"),
        (SEMICOLONS.replace(",", "").replace(";", ","), {"separator": ";"}, r"separator ';', .* has ',' 2 times"),
        (SEMICOLONS.encode("latin-1"), {"separator": ";"}, r"Line 3 is not utf-8: b'\\xfc'.*encoding='windows-1252'"),
        (
            SEMICOLONS.encode("utf-16"),
            {"separator": ";"},
            r"begins like UTF-16: FileSource\(..., encoding='utf-16'\)",
        ),
        ("x,y\n1,2\n", {}, "there is no column 'at', which source 's' names"),
        ("at,x\n2024-01-01,1,2\n", {}, "not a CSV file"),
        ("at,x\n2024-01-01,1\n", {"dtypes": {"y": "text"}}, "there is no column 'y', which source 's' names"),
        ("at,x\n2024-01-01,one\n", {"dtypes": {"x": "number"}}, "row 1: 'one' is not of type double, .* in dtypes"),
        ('at,x\n2024-01-01,"1,5"\n', {"dtypes": {"x": "number"}}, r"Are these decimal commas\? .*decimal=','"),
        ("", {}, "not a CSV file"),
    ],
)
def test_an_error_names_what_it_saw_and_the_option_that_reads_it(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        rows(tmp_path, content, **options)


def test_names_of_columns_are_read_as_the_source_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("at;größe\n2024-01-01;1\n".encode("latin-1"))
    source = FileSource("s", "file.csv", timestamp="at", separator=";", encoding="latin-1")
    assert column_names(path, source) == ["at", "größe"]


def test_a_file_of_labels_is_told_to_have_another_separator(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id;late\na;1\n")
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    with pytest.raises(DataError, match=r"but its first line has ';' 1 times\. Expected commas"):
        list(read_outcomes(path, columns, "binary"))
