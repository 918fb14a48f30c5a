"""What the log knows of some predictions, against a plain account of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.app.labels import bloom, label_dedup
from trimtab.app.labels.bloom import BloomFilter
from trimtab.app.labels.label_dedup import DistinctLabels, Label, LabelDedup
from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows

NOW = 1_000
Row = tuple[str, float, int | None]
Told = tuple[list[Label], int, int]
"""News, repeated, contradicting."""


def frame(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.String, "label": pl.Float64, "known_at": pl.Int64}, orient="row")


def columns(labels: Sequence[Label]) -> dict[str, Sequence[Any]]:
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


@contextmanager
def knowing(log: Predictions, *rows: Row) -> Iterator[LabelDedup]:
    """Judge rows as labels of the model delay."""
    timed = bool(rows) and rows[0][2] is not None
    with closing(LabelDedup("delay", timed=timed)) as known:
        for start in range(0, len(rows), 3):
            known.add(frame(*rows[start : start + 3]))
        known.learn_predictions(log)
        known.learn_labels(log)
        known.judge(now=NOW)
        yield known


def told(known: LabelDedup, first: int, last: int) -> Told:
    news = [label for some in known.new(first, last, limit=2) for label in some]
    judged = known.judged(first, last)
    assert judged.new == len(news)
    return news, judged.repeated, judged.contradicting


def judge(log: Predictions, *rows: Row) -> Told:
    with knowing(log, *rows) as known:
        return told(known, 0, len(rows))


def unmatched(log: Predictions, *ids: str) -> int:
    with knowing(log, *[(id_, 1.0, 1) for id_ in ids]) as known:
        return known.unmatched


class Oracle:
    """The definition, in plain words: each row after those before it, against all that is known."""

    def __init__(self, known: Sequence[Label]) -> None:
        self.latest: dict[str, tuple[float | str, int]] = {}
        self.said: set[Label] = set()
        for label in known:
            self.learn(*label)

    def learn(self, id_: str, label: float | str, moment: int) -> None:
        self.said.add((id_, label, moment))
        if id_ not in self.latest or moment >= self.latest[id_][1]:
            self.latest[id_] = label, moment

    def judge(self, rows: Sequence[Row]) -> Told:
        news: list[Label] = []
        last = {id_: n for n, (id_, _, _) in enumerate(rows)}
        repeated = contradicting = 0
        for n, (id_, label, said) in enumerate(rows):
            if said is None and last[id_] != n:
                final = rows[last[id_]][1]
                repeated, contradicting = repeated + (label == final), contradicting + (label != final)
                continue
            moment, before = NOW if said is None else said, self.latest.get(id_)
            same = before is not None and before[0] == label
            if (id_, label, moment) in self.said or (said is None and same):
                repeated += 1
                continue
            repeated, contradicting = repeated + same, contradicting + (before is not None and not same)
            news.append((id_, label, moment))
            self.learn(id_, label, moment)
        return news, repeated, contradicting


def test_labels_are_new_repeated_or_contradicting(write: Callable[..., Predictions]) -> None:
    log = write(("a", 1.0, 5), ("b", 1.0, 5), ("c", 1.0, 5))
    judged = judge(log, ("a", 1.0, 5), ("b", 1.0, 9), ("c", 0.0, 7), ("d", 0.0, 1))
    assert judged == ([("b", 1.0, 9), ("c", 0.0, 7), ("d", 0.0, 1)], 2, 1)


def test_labels_of_another_model_are_not_known_and_those_of_none_are(write: Callable[..., Predictions]) -> None:
    write(("a", 1.0, 5), model="price")
    log = write(("b", 1.0, 5), model=None)
    assert judge(log, ("a", 1.0, 5), ("b", 1.0, 5)) == ([("a", 1.0, 5)], 1, 0)


def test_an_older_label_that_is_known_is_repeated_even_though_a_newer_one_contradicts_it(
    write: Callable[..., Predictions],
) -> None:
    log = write(("a", 0.0, 3), ("a", 1.0, 5))
    assert judge(log, ("a", 0.0, 3), ("a", 1.0, 5)) == ([], 2, 0)


def test_without_moments_the_last_row_of_an_id_counts_and_is_news_when_it_says_something_else(
    write: Callable[..., Predictions],
) -> None:
    log = write(("a", 1.0, 5), ("b", 1.0, 5))
    rows: list[Row] = [("a", 0.0, None), ("a", 1.0, None), ("b", 0.0, None), ("c", 1.0, None), ("c", 1.0, None)]
    first = judge(log, *rows)
    assert first == ([("b", 0.0, NOW), ("c", 1.0, NOW)], 2, 2)
    log = write(*first[0])
    assert judge(log, *rows) == ([], 4, 1)


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

    def append(labels: Sequence[Label]) -> None:
        log.append_labels(columns(labels))

    append(before)
    first = judge(log, *rows)
    append(first[0])
    again = judge(log, *rows)
    known = log.read_labels()[0]
    log.close()
    assert again == ([], len(rows), 0)
    assert len(first[0]) + first[1] >= len(rows)
    moments = known["known_at"].cast("int64").to_pylist()
    said = set(zip(known["prediction_id"].to_pylist(), known["label"].to_pylist(), moments, strict=True))
    assert said == {*before, *rows}


IDS = st.sampled_from(["a", "b", "c", "a\0", "é", "'"])
VALUES, MOMENTS = st.sampled_from([0.0, 1.0]), st.integers(-1, 3)


class Small(NamedTuple):
    """Sizes small enough that a few rows go beyond them."""

    block_rows: int
    most: int
    bits: int


@given(
    before=st.lists(st.tuples(IDS, VALUES, MOMENTS, st.sampled_from(["delay", "delay", None, "price"])), max_size=12),
    parts=st.lists(st.lists(st.tuples(IDS, VALUES, MOMENTS), max_size=10), min_size=1, max_size=3),
    timed=st.booleans(),
    small=st.builds(Small, st.integers(1, 4), st.integers(0, 3), st.sampled_from([8, 2**10])),
)
def test_in_whatever_blocks_it_is_done_the_verdicts_are_those_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, float, int, str | None]],
    parts: list[list[tuple[str, float, int]]],
    timed: bool,
    small: Small,
) -> None:
    log = SegmentLog(tmp_path_factory.mktemp("log"))
    for id_, label, moment, model in before:
        log.append_labels(columns([(id_, label, moment)]) | {"model": [model]})
    for id_ in "ab":
        log.append(prediction_rows([id_]))
    rows = [[(id_, y, t if timed else None) for id_, y, t in part] for part in parts]
    together = [row for part in rows for row in part]
    oracle = Oracle([(id_, y, t) for id_, y, t, model in before if model != "price"])
    with pytest.MonkeyPatch.context() as sizes:
        sizes.setattr(label_dedup, "BLOCK_ROWS", small.block_rows)
        sizes.setattr(DistinctLabels, "MOST", small.most)
        sizes.setattr(bloom, "BITS", small.bits)
        with knowing(log, *together) as known:
            found, first = [], 0
            for part in rows if timed else [together]:
                found.append(told(known, first, first + len(part)))
                first += len(part)
            missing = known.unmatched
    log.close()
    assert found == [oracle.judge(part) for part in (rows if timed else [together])]
    assert missing == sum(id_ not in ("a", "b") for id_, _, _ in together)


def test_outcomes_that_are_taken_back_leave_no_trace(write: Callable[..., Predictions]) -> None:
    log = write(("a", 1.0, 5))
    with closing(LabelDedup("delay", timed=True)) as known:
        known.add(frame(("a", 0.0, 6)))
        known.add(frame(("a", 0.0, 9), ("b", 0.0, 9)))
        known.take_back(1)
        known.add(frame(("b", 1.0, 7)))
        known.learn_labels(log)
        known.judge(now=NOW)
        assert told(known, 0, known.rows) == ([("a", 0.0, 6), ("b", 1.0, 7)], 0, 1)


def test_one_id_with_very_many_labels_is_kept_on_disk(
    write: Callable[..., Predictions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DistinctLabels, "MOST", 10)
    rows = [("a", float(n % 2), n) for n in range(50)]
    log = write(*rows[:30])
    judged = judge(log, *rows, *rows, ("b", 1.0, 1), ("b", 1.0, 1))
    assert judged[0] == [*rows[30:], ("b", 1.0, 1)]
    assert judged[1:] == (30 + 50 + 1, 20)


def test_a_full_disk_for_temporary_files_is_told(
    write: Callable[..., Predictions], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write(("a", 1.0, 5))
    with closing(LabelDedup("delay", timed=True)) as known:
        (pages,) = known._db.execute("PRAGMA page_count").fetchone()
        known._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(StoreError, match=r"database or disk is full\. .*TMPDIR"):
            known.add(frame(*[(f"{n:0100}", 1.0, n) for n in range(1_000)]))
    with closing(LabelDedup("delay", timed=True)) as known:
        known.add(frame(("a", 0.0, 6)))
        known.learn_labels(log)
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreError, match=r"No space left on device.*TMPDIR"):
            known.judge(now=NOW)


def full(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_filter_of_ids_denies_none_and_lets_few_others_through() -> None:
    seen, ids = BloomFilter(), pl.Series([f"id-{n}" for n in range(20_000)])
    seen.add(ids[:10_000])
    found = seen.among(ids)
    assert found[:10_000].all()
    assert found[10_000:].sum() < 10


def test_rows_without_a_prediction_of_the_model_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_dedup, "BLOCK_ROWS", 2)
    log = SegmentLog(tmp_path)
    for id_, model in [("a", "delay"), ("b", "delay"), ("c", "price"), ("d", "delay")]:
        log.append(prediction_rows([id_], model=[model]))
    log.close()
    assert unmatched(log, "a", "c", "c", "d", "x") == 3
    assert unmatched(log, "a") == 0
    assert unmatched(log) == 0
