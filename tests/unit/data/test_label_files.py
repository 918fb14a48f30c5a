"""Outcomes in files: what is read, what waits, and what is refused with its row, column and what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.data.label_files import MOST_NAMED, CheckedOutcomes, OutcomeColumns, check_outcomes
from trimtab.data.label_files import read_outcomes as blocks_of_outcomes
from trimtab.definitions.models import Task
from trimtab.errors import DataError
from trimtab.tasks import class_names

COLUMNS = OutcomeColumns(prediction_id="id", label="late", known_at="landed_at")
SECOND = 1_000_000


def csv(folder: Path, text: str) -> Path:
    path = folder / "outcomes.csv"
    path.write_text(text)
    return path


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "outcomes.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def whole(blocks: Iterable[CheckedOutcomes]) -> CheckedOutcomes:
    """Return all blocks as one."""
    found = list(blocks)
    schema = {"id": pl.String, "label": pl.Float64, "known_at": pl.Int64}
    rows = pl.concat([pl.DataFrame(schema=schema), *(block.rows for block in found)])
    return CheckedOutcomes(rows=rows, waiting=sum(block.waiting for block in found))


def read_outcomes(path: Path, columns: OutcomeColumns, task: Task) -> CheckedOutcomes:
    return whole(blocks_of_outcomes(path, columns, task))


def rows(found: CheckedOutcomes) -> list[tuple[Any, ...]]:
    return found.rows.rows()


def test_a_csv_file_is_read_and_rows_without_an_outcome_wait(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "carrier,id,late,landed_at\n"
        "UA,a,1,1970-01-01T00:00:01Z\nAA,007,0,1970-01-01 01:00:02+01:00\n,b,,1970-01-01\nUA,c,1,\nUA,d,NaN,\n",
    )
    found = read_outcomes(path, COLUMNS, "binary")
    assert rows(found) == [("a", 1.0, SECOND), ("007", 0.0, 2 * SECOND)]
    assert found.waiting == 3


@pytest.mark.parametrize(
    ("late", "task", "expected"),
    [
        ([True, False, None], "binary", [1.0, 0.0]),
        ([1, 0, None], "binary", [1.0, 0.0]),
        ([np.float32(1), 0.0, float("nan")], "binary", [1.0, 0.0]),
        (["1", " 0 ", ""], "binary", [1.0, 0.0]),
        ([-2.5, 1e300, None], "regression", [-2.5, 1e300]),
    ],
)
def test_labels_of_any_numeric_kind_are_numbers(tmp_path: Path, late: list[Any], task: Task, expected: Any) -> None:
    path = parquet(tmp_path, id=[1, 2, 3], late=late, landed_at=[datetime(1970, 1, 1)] * 3)
    found = read_outcomes(path, COLUMNS, task)
    assert rows(found) == [("1", expected[0], 0), ("2", expected[1], 0)]
    assert found.waiting == 1


def test_without_a_column_of_moments_outcomes_are_known_now(tmp_path: Path) -> None:
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    found = read_outcomes(csv(tmp_path, "id,late\na,1\nb,\n"), columns, "binary")
    assert (rows(found), found.waiting) == ([("a", 1.0, None)], 1)


def test_every_wrong_value_is_named_with_its_row_and_column(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,late,landed_at\na,1,2013-01-01\n,0,2013-01-01\nb,2,2013-01-01\nc,yes,2013-01-01\n")
    with pytest.raises(DataError) as refused:
        read_outcomes(path, COLUMNS, "binary")
    text = str(refused.value)
    assert text.startswith(f"{path}: 3 values are wrong, so no outcome was imported:")
    assert "row 2: id is None; expected the id of a prediction" in text
    assert "row 3: late is '2'; expected 0 or 1" in text
    assert "row 4: late is 'yes'; expected 0 or 1" in text


@pytest.mark.parametrize(
    ("changed", "task", "message"),
    [
        ({"id": ["", "b"]}, "binary", "row 1: id is ''; expected the id of a prediction"),
        ({"id": [1.5, 2.0]}, "binary", "id is Float64; expected the ids of predictions as text"),
        ({"late": [1.0, 0.5]}, "binary", "row 2: late is 0.5; expected 0 or 1"),
        ({"late": [1.0, float("inf")]}, "regression", "row 2: late is inf; expected a number"),
        ({"late": [[1], [0]]}, "binary", "late is List(Int64); expected numbers"),
        ({"landed_at": [1, 2]}, "binary", "column 'landed_at': row 1: 1 is not a timestamp"),
        ({"landed_at": ["2013-01-01", "soon"]}, "binary", "column 'landed_at': row 2: 'soon' is not a time"),
    ],
)
def test_what_is_no_outcome_is_refused(tmp_path: Path, changed: dict[str, Any], task: Task, message: str) -> None:
    good: dict[str, Any] = {"id": ["a", "b"], "late": [1, 0], "landed_at": [datetime(2013, 1, 1)] * 2}
    with pytest.raises(DataError) as refused:
        read_outcomes(parquet(tmp_path, **good | changed), COLUMNS, task)
    assert message in str(refused.value)
    assert "outcomes.parquet" in str(refused.value)


def test_the_first_wrong_values_are_named_and_the_others_counted() -> None:
    frame = pl.DataFrame({"id": [None] * 50, "late": [7] * 50, "landed_at": [datetime(2013, 1, 1)] * 50})
    with pytest.raises(DataError) as refused:
        whole(check_outcomes([frame], COLUMNS, task="binary", place="here"))
    assert "row 10: id is None" in str(refused.value)
    assert "row 11" not in str(refused.value)
    assert f"and {100 - MOST_NAMED} more" in str(refused.value)


def test_years_beyond_the_calendar_are_refused() -> None:
    moments = pl.Series([2**62], dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"id": ["a"], "late": [1], "landed_at": moments})
    with pytest.raises(DataError, match="row 1: landed_at is 4611686018427387904; expected microseconds of"):
        whole(check_outcomes([frame], COLUMNS, task="binary", place="here"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.csv", "does not exist; expected a file that ends in .parquet or .csv"),
        ("broken.parquet", "broken.parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no such thing")
    with pytest.raises(DataError) as refused:
        read_outcomes(tmp_path / name, COLUMNS, "binary")
    assert message in str(refused.value)


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'late'\. Did you mean 'lates'"):
        read_outcomes(csv(tmp_path, "id,lates,landed_at\n"), COLUMNS, "binary")


def test_classes_are_read_as_text_however_they_are_written(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,late,landed_at\na,very late,1970-01-01T00:00:01Z\nb,,\nc,3,1970-01-01T00:00:01Z\n")
    (found,) = blocks_of_outcomes(path, COLUMNS, "multiclass")
    assert found.rows.rows() == [("a", "very late", SECOND), ("c", "3", SECOND)]
    assert found.waiting == 1
    path = parquet(tmp_path, id=["a", "b", "c"], late=[2.0, float("nan"), 10.0], landed_at=[1, 1, 1])
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    (found,) = blocks_of_outcomes(path, columns, "multiclass")
    assert found.rows["label"].to_list() == ["2", "10"]


@pytest.mark.parametrize("given", [{"classes": ("none", "NA", "ok")}, {"known": frozenset(("none", "NA", "ok"))}])
def test_a_text_that_means_missing_is_a_class_where_a_class_is_named_so(tmp_path: Path, given: Any) -> None:
    path = csv(tmp_path, "id,late\na,none\nb,NA\nc, ok\nd,null\ne,\nf,NaN\n")
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    (found,) = blocks_of_outcomes(path, columns, "multiclass", **given)
    assert dict(zip(found.rows["id"], found.rows["label"], strict=True)) == {"a": "none", "b": "NA", "c": "ok"}
    assert found.waiting == 3


def test_outcomes_have_the_names_that_training_gives_to_classes(tmp_path: Path) -> None:
    columns = OutcomeColumns(prediction_id="id", label="late", known_at=None)
    given: list[list[Any]] = [[" ok", "ok", "late "], [1, 2, 3], [1.0, 2.0, 3.0], [True, False, True]]
    for labels in given:
        series = pl.Series("late", labels)
        trained = class_names(series, where="examples")
        path = parquet(tmp_path, id=["a", "b", "c"], late=series)
        (found,) = blocks_of_outcomes(path, columns, "multiclass", (), frozenset(trained))
        assert found.rows["label"].to_list() == trained.to_list()


def test_a_class_that_the_model_does_not_declare_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,late,landed_at\na,late,1970-01-01T00:00:01Z\nb,latte,1970-01-01T00:00:01Z\n")
    with pytest.raises(DataError, match=r"row 2: late is 'latte'; expected one of on time, late"):
        list(blocks_of_outcomes(path, COLUMNS, "multiclass", ("on time", "late")))
    moment = [datetime(2020, 1, 1, tzinfo=UTC)]
    with pytest.raises(DataError, match=r"column 'late' has 0\.5; labels of classes are texts or whole numbers"):
        list(blocks_of_outcomes(parquet(tmp_path, id=["a"], late=[0.5], landed_at=moment), COLUMNS, "multiclass"))


def test_named_classes_of_a_binary_model_become_0_and_1(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,late,landed_at\na,yes,1970-01-01T00:00:01Z\nb,no,1970-01-01T00:00:01Z\nc,1,1970-01-01\n")
    (found,) = blocks_of_outcomes(path, COLUMNS, "binary", ("no", "yes"))
    assert found.rows["label"].to_list() == [1.0, 0.0, 1.0]
    path = csv(tmp_path, "id,late,landed_at\na,maybe,1970-01-01T00:00:01Z\n")
    with pytest.raises(DataError, match=r"late is 'maybe'; expected one of no, yes"):
        list(blocks_of_outcomes(path, COLUMNS, "binary", ("no", "yes")))


@pytest.mark.parametrize("texts", ["{first}", "{first}.0"])
@pytest.mark.parametrize(("classes", "labels"), [(("1", "2"), [0.0, 1.0]), (("1", "0"), [0.0, 1.0])])
def test_a_number_is_the_class_of_that_name_first(
    tmp_path: Path, classes: tuple[str, str], labels: list[float], texts: str
) -> None:
    first, second = (texts.format(first=name) for name in classes)
    moment = "1970-01-01T00:00:01Z"
    path = csv(tmp_path, f"id,late,landed_at\na,{first},{moment}\nb,{second},{moment}\n")
    (found,) = blocks_of_outcomes(path, COLUMNS, "binary", classes)
    assert found.rows["label"].to_list() == labels


def test_0_is_no_label_of_the_classes_1_and_2(tmp_path: Path) -> None:
    path = csv(tmp_path, "id,late,landed_at\na,1,1970-01-01T00:00:01Z\nb,0,1970-01-01T00:00:01Z\n")
    with pytest.raises(DataError, match=r"row 2: late is '0'; expected one of 1, 2"):
        list(blocks_of_outcomes(path, COLUMNS, "binary", ("1", "2")))
