"""The stream state: however the rows of a table come, the timelines are those of one run over the whole table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.views import FeatureView, WindowBy
from trimtab.errors import UsageError
from trimtab.features.materialization import materialize
from trimtab.features.stream_state import ENTITY_ROWS, StreamUpdater
from trimtab.stores.online.lmdb import LmdbOnline

Row = dict[str, Any]
SCHEMA = {
    "a": pl.String, "n": pl.Int64, "ts": pl.Int64, "known": pl.Int64, "x": pl.Float64, "id": pl.Int64, "t": pl.String
}  # fmt: skip


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    table = pl.DataFrame(list(rows), schema=SCHEMA, orient="row")
    return table.with_columns(pl.col("ts", "known").cast(pl.Datetime("us", "UTC")))


def dump(online: LmdbOnline, view: FeatureView) -> list[tuple[bytes, bytes]]:
    """Return every entry of a view with its key, byte for byte."""
    prefix, found = online.prefix(view.version_id), []
    with online._env.begin() as transaction:
        cursor = transaction.cursor()
        more = cursor.set_range(prefix)
        while more and bytes(cursor.key()).startswith(prefix):
            found.append((bytes(cursor.key()), bytes(cursor.value())))
            more = cursor.next()
    return found


@pytest.fixture
def online(tmp_path: Path) -> Iterator[LmdbOnline]:
    store = LmdbOnline(tmp_path)
    yield store
    store.close()


MOMENT = st.integers(-5, 40)
KEYS: list[tuple[str | None, int | None]] = [("x", 1), ("x", 11), ("", -1), (None, 1)]
ROW = st.builds(
    lambda key, **rest: {"a": key[0], "n": key[1], **rest},
    key=st.sampled_from(KEYS),
    ts=st.one_of(MOMENT, MOMENT, MOMENT, st.none()),
    known=st.one_of(st.none(), MOMENT, MOMENT),
    x=st.one_of(st.none(), st.integers(0, 2).map(float), st.floats(width=16)),
    id=st.one_of(st.none(), st.integers(0, 6)),
    t=st.sampled_from([None, "p", "q"]),
)
FEATURE = st.builds(
    lambda kind, column, window: Aggregation(
        kind, {"count": None, "last": column, "first": column}.get(kind, "x"), window
    ),
    st.sampled_from(["count", "sum", "mean", "min", "max", "last", "first"]),
    st.sampled_from(["x", "t"]),
    st.sampled_from([None, 2, 7, 30]),
)
STEP = st.tuples(MOMENT, st.integers(0, 20), st.sampled_from(["rows", "overlapping", "gap", "table"]))


@settings(max_examples=60)
@given(
    rows=st.lists(ROW, max_size=20),
    features=st.lists(FEATURE, min_size=1, max_size=4, unique_by=lambda a: a.name),
    ttl=st.sampled_from([None, None, "5us"]),
    every=st.sampled_from([None, "4us"]),
    window_by=st.sampled_from(["timestamp", "known_at"]),
    key=st.sampled_from([(), ("id",), ("id", "t")]),
    lateness=st.sampled_from([0, 3, 1000]),
    steps=st.lists(STEP, min_size=1, max_size=5),
)
def test_timelines_are_those_of_one_run_over_the_whole_table(
    rows: list[Row], features: list[Aggregation], ttl: str | None, every: str | None, window_by: WindowBy,
    key: tuple[str, ...], lateness: int, steps: list[tuple[int, int, str]],
) -> None:  # fmt: skip
    source = tt.FileSource("events", "events.parquet", timestamp="ts", known_at="known", key=key)
    view = FeatureView("v", tt.Entity("thing", keys=["a", "n"]), source, features, ttl, every, window_by)
    table, taken = frame(rows), 0
    untils = sorted(until for until, _, _ in steps)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        stream, whole = LmdbOnline(Path(one)), LmdbOnline(Path(other))
        for until, (_, more, how) in zip(untils, steps, strict=True):
            first, taken = taken, min(table.height, taken + more)
            first = max(0, first - 2) if how == "overlapping" else min(first + 1, taken) if how == "gap" else first
            updater = StreamUpdater(view, stream, table.head(taken).lazy, lateness=lateness)
            if how == "table":
                updater.update(until=until)
            else:
                updater.update(table[first:taken], until=until, first=first)
            assert updater.position is not None
            assert updater.position.rows == taken
            materialize(view, table.head(taken), whole, until=until, full=True)
            assert dump(stream, view) == dump(whole, view), (until, taken)
            assert updater.update(until=until) == 0
        stream.close()
        whole.close()


EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PAYMENTS = tt.FileSource("payments", "payments.csv", timestamp="at")
HOUR = FeatureView("spent", tt.Entity("card"), PAYMENTS, [tt.sum("amount", "1h")])


def payments(*minutes: float, card: str = "a") -> pl.DataFrame:
    at = [EPOCH + timedelta(minutes=minute) for minute in minutes]
    schema: dict[str, Any] = {"card": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64}
    return pl.DataFrame({"card": [card] * len(at), "at": at, "amount": [1.0] * len(at)}, schema=schema)


def micros(minute: float) -> int:
    return int((EPOCH + timedelta(minutes=minute)).timestamp()) * 1_000_000


def unread() -> pl.LazyFrame:
    raise AssertionError("the table was read")


def value(online: LmdbOnline, view: FeatureView, minute: float) -> bytes | None:
    return online.read([(online.prefix(view.version_id), b"sa")], micros(minute))[0]


def kept(online: LmdbOnline, card: bytes = b"sa") -> int:
    (state,) = online.state(HOUR.version_id, [ENTITY_ROWS + card])
    return 0 if state is None else int.from_bytes(state[8:12], "little")


def test_a_step_in_order_reads_no_row_of_the_table(online: LmdbOnline) -> None:
    StreamUpdater(HOUR, online, payments(0).lazy).update(until=micros(1))
    stream = StreamUpdater(HOUR, online, unread)
    assert stream.update(payments(2, 3), until=micros(5), first=1) == 5
    assert stream.update(payments(4), until=micros(6), first=3) > 0  # out of order, and late by two minutes
    assert stream.position is not None
    assert stream.position.rows == 4


def test_rows_that_no_value_needs_any_more_leave_the_state(online: LmdbOnline) -> None:
    StreamUpdater(HOUR, online, payments().lazy).update(until=micros(0))
    for step in range(100):
        start = 10 * step
        StreamUpdater(HOUR, online, unread).update(payments(start, start + 5), until=micros(start + 5), first=2 * step)
    assert kept(online) <= 2 * (60 + 60) // 10 + 2  # an hour of window, and an hour of lateness


def test_a_row_that_comes_later_than_the_state_reaches_is_computed_from_the_table(online: LmdbOnline) -> None:
    table, reads = payments(0, 300, 1, 302), []

    def read() -> pl.LazyFrame:
        reads.append(1)
        return table.lazy()

    StreamUpdater(HOUR, online, table.head(1).lazy).update(until=micros(0))
    StreamUpdater(HOUR, online, read).update(table[1:2], until=micros(300), first=1)
    assert not reads
    StreamUpdater(HOUR, online, read).update(table[2:3], until=micros(301), first=2)
    assert len(reads) == 1
    assert value(online, HOUR, 2) is not None
    StreamUpdater(HOUR, online, read).update(table[3:4], until=micros(303), first=3)
    assert len(reads) == 1  # the state is whole again


def test_the_state_of_another_table_or_type_is_made_anew(online: LmdbOnline) -> None:
    for table in (payments(0, 1, 2), payments(0, 1), payments(0, 1).with_columns(pl.col("amount").cast(pl.Int64))):
        StreamUpdater(HOUR, online, table.lazy).update(until=micros(5))
        stream = StreamUpdater(HOUR, online, table.lazy)
        assert stream.position is not None
        assert (stream.position.rows, stream.position.types["amount"]) == (table.height, str(table.schema["amount"]))


def test_rows_of_unknown_places_are_refused(online: LmdbOnline) -> None:
    with pytest.raises(UsageError, match="give `rows` and `first`"):
        StreamUpdater(HOUR, online, unread).update(payments(1), until=micros(2))


def test_a_killed_step_is_taken_again_or_not_at_all(online: LmdbOnline, monkeypatch: pytest.MonkeyPatch) -> None:
    table = payments(0, 1, 2)
    StreamUpdater(HOUR, online, table.head(1).lazy).update(until=micros(0))
    before = dump(online, HOUR)

    def stop(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LmdbOnline, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            StreamUpdater(HOUR, online, table.lazy).update(table[1:2], until=micros(1), first=1)
    assert dump(online, HOUR) == before
    StreamUpdater(HOUR, online, table.lazy).update(table[2:3], until=micros(2), first=2)  # the row between comes along
    again = StreamUpdater(HOUR, online, table.lazy)
    assert again.update(table[2:3], until=micros(2), first=2) == 0  # sent twice
    assert again.position is not None
    assert again.position.rows == 3
    assert len(dump(online, HOUR)) == 6
