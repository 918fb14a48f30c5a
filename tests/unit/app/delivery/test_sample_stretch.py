"""The stretch of examples that a contract test trains on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trimtab as tt
from trimtab.app.delivery.sample_stretch import is_good, stretch_of
from trimtab.errors import StageError

rows = tt.FileSource("rows", "rows.parquet", timestamp="at", known_at="known")
binary = tt.Model("risk", task="binary", examples=rows, label="bad", features=["x"])
regression = tt.Model("loss", task="regression", examples=rows, label="bad", features=["x"])
anomaly = tt.Model("pump", task="anomaly", examples=rows, features=["x"])


def frame(labels: list[float | None]) -> pl.DataFrame:
    at = pl.Series("at", np.arange(len(labels)) * 10).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame([at, (at.dt.epoch("us") + 3).cast(pl.Datetime("us", "UTC")).alias("known")]).with_columns(
        bad=pl.Series(labels, dtype=pl.Float64), x=pl.lit(1.0)
    )


def test_the_newest_rows_are_taken_where_labels_are_numbers() -> None:
    found = stretch_of(regression, frame([float(n) for n in range(100)]), 30)
    assert (found.start, found.end, found.known, found.labelled) == (700, 990, 993, 30)


def test_a_stretch_with_both_classes_is_preferred_to_the_newest() -> None:
    labels: list[float | None] = [*(float(n % 2) for n in range(200)), *[0.0] * 100]
    found = stretch_of(binary, frame(labels), 100)
    inside = frame(labels).filter(pl.col("at").dt.epoch("us").is_between(found.start, found.end))["bad"]
    assert inside[:80].sum() >= 10
    assert inside[80:].sum() >= 10
    assert not is_good(binary, frame([0.0] * 300), 100)
    assert is_good(binary, frame(labels), 100)


def test_rows_without_labels_do_not_count_unless_the_task_needs_none() -> None:
    labels: list[float | None] = [1.0, 0.0, *[None] * 50]
    assert stretch_of(binary, frame(labels), 10).labelled == 2
    assert stretch_of(anomaly, frame(labels), 10).labelled == 10
    with pytest.raises(StageError, match="none of 3 rows has a label in 'bad'"):
        stretch_of(binary, frame([None] * 3), 10)


@given(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=80), st.integers(1, 90))
def test_a_stretch_has_at_most_the_rows_that_are_wanted_and_all_there_are(
    labels: list[float | None], most: int
) -> None:
    known = [label for label in labels if label is not None]
    if not known:
        return
    found = stretch_of(binary, frame(labels), most)
    assert found.labelled == min(most, len(known))
    inside = frame(labels).filter(pl.col("at").dt.epoch("us").is_between(found.start, found.end))["bad"]
    assert inside.drop_nulls().len() == found.labelled
