"""What the log knows of some predictions, against a plain account of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.app import known_labels
from trimtab.app.known_labels import Judged, KnownLabels, without_prediction
from trimtab.stores.predictions import Predictions
from trimtab.stores.predictions.segments import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows

NOW = 1_000
Row = tuple[str, float, int | None]


def frame(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.String, "label": pl.Float64, "known_at": pl.Int64}, orient="row")


def columns(labels: Sequence[tuple[str, float, int]]) -> dict[str, Sequence[Any]]:
    return label_rows(
        [id_ for id_, _, _ in labels], label=[y for _, y, _ in labels], known_at=[t for _, _, t in labels]
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Predictions]:
    """Write labels of models into a log, and return it."""

    def write(*rows: tuple[str, float, int], model: str | None = "delay") -> Predictions:
        log = SegmentLog(tmp_path)
        log.append_labels(columns(rows) | {"model": [model] * len(rows)})
        log.close()
        return log

    return write


def judge(log: Predictions, *rows: Row) -> Judged:
    given = frame(*rows)
    return KnownLabels(log, "delay", given["id"]).judge(given, now=NOW)


def summary(judged: Judged) -> tuple[list[tuple[str, float, int]], int, int]:
    return judged.news.rows(), judged.repeated, judged.contradicting


def test_labels_are_new_repeated_or_contradicting(write: Callable[..., Predictions]) -> None:
    log = write(("a", 1.0, 5), ("b", 1.0, 5), ("c", 1.0, 5))
    judged = judge(log, ("a", 1.0, 5), ("b", 1.0, 9), ("c", 0.0, 7), ("d", 0.0, 1))
    assert summary(judged) == ([("b", 1.0, 9), ("c", 0.0, 7), ("d", 0.0, 1)], 2, 1)


def test_labels_of_another_model_are_not_known_and_those_of_none_are(write: Callable[..., Predictions]) -> None:
    write(("a", 1.0, 5), model="price")
    log = write(("b", 1.0, 5), model=None)
    assert summary(judge(log, ("a", 1.0, 5), ("b", 1.0, 5))) == ([("a", 1.0, 5)], 1, 0)


def test_an_older_label_that_is_known_is_repeated_even_though_a_newer_one_contradicts_it(
    write: Callable[..., Predictions],
) -> None:
    log = write(("a", 0.0, 3), ("a", 1.0, 5))
    assert summary(judge(log, ("a", 0.0, 3), ("a", 1.0, 5))) == ([], 2, 0)


def test_without_moments_the_last_row_of_an_id_counts_and_is_news_when_it_says_something_else(
    write: Callable[..., Predictions],
) -> None:
    log = write(("a", 1.0, 5), ("b", 1.0, 5))
    rows: list[Row] = [("a", 0.0, None), ("a", 1.0, None), ("b", 0.0, None), ("c", 1.0, None), ("c", 1.0, None)]
    first = judge(log, *rows)
    assert summary(first) == ([("b", 0.0, NOW), ("c", 1.0, NOW)], 2, 2)
    log = write(*first.news.rows())
    assert summary(judge(log, *rows)) == ([], 4, 1)


@settings(deadline=None, max_examples=50)
@given(
    before=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0]), st.integers(0, 3)), max_size=6),
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 1.0]), st.integers(0, 3)), max_size=8),
)
def test_taking_rows_again_writes_nothing_and_the_latest_known_counts(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, float, int]],
    rows: list[tuple[str, float, int]],
) -> None:
    log = SegmentLog(tmp_path_factory.mktemp("log"))

    def append(labels: list[tuple[str, float, int]]) -> None:
        log.append_labels(columns(labels))

    append(before)
    first = judge(log, *rows)
    append(first.news.rows())
    again = judge(log, *rows)
    known = log.read_labels()[0]
    log.close()
    assert (again.news.height, again.repeated, again.contradicting) == (0, len(rows), 0)
    assert first.news.height + first.repeated >= len(rows)
    moments = known["known_at"].cast("int64").to_pylist()
    said = set(zip(known["prediction_id"].to_pylist(), known["label"].to_pylist(), moments, strict=True))
    assert said == {*before, *rows}


def test_rows_without_a_prediction_of_the_model_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_labels, "BLOCK_ROWS", 2)
    log = SegmentLog(tmp_path)
    for id_, model in [("a", "delay"), ("b", "delay"), ("c", "price"), ("d", "delay")]:
        log.append(prediction_rows([id_], model=[model]))
    log.close()
    assert without_prediction(log, "delay", pl.Series(["a", "c", "c", "d", "x"])) == 3
    assert without_prediction(log, "delay", pl.Series(["a"])) == 0
    assert without_prediction(log, "delay", pl.Series([], dtype=pl.String)) == 0
