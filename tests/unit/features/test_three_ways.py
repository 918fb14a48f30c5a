"""The same events through batch, stream and request, beside the oracle: every kind of feature is the same, bit for bit.

The stream takes the rows in random pieces, with steps between them, so rows are late, out of order and corrected. Its
store is compared with that of one run over the whole table, byte for byte.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
from hypothesis import given, settings

import trimtab as tt
from trimtab.clock import from_micros
from trimtab.definitions.views import FeatureView
from trimtab.features.corrections import replaced
from trimtab.features.materialization import materialize
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.point_in_time import view_values
from trimtab.features.stream_state import StreamUpdater
from trimtab.stores.online.lmdb import LmdbOnline
from unit.features.test_kinds import RANDOM, Row, features, frame, has_decay, history, options, same, view_of
from unit.features.test_stream_state import dump

Oracle = Callable[..., "list[float | None]"]
Bits = Callable[[Sequence["float | None"]], "list[str | None]"]
KEYS = ("k", "l", None)


def stream(
    random: Random, view: FeatureView, table: pl.DataFrame, untils: list[int], online: LmdbOnline, whole: LmdbOnline
) -> None:
    """Take the table in random pieces, and compare the store after each with that of one run."""
    taken = 0
    lateness = random.choice([0, 5, 1000])
    for n, until in enumerate(untils):
        first, last = taken, table.height if n == len(untils) - 1 else random.randint(taken, table.height)
        taken = last
        updater = StreamUpdater(view, online, table.head(last).lazy, lateness=lateness)
        if random.random() < 0.2:
            updater.update(until=until)  # a run by command takes what the stream did not
        else:
            updater.update(table[first:last], until=until, first=first)
        materialize(view, table.head(last), whole, until=until, full=True)
        assert dump(online, view) == dump(whole, view), (until, first, last)


def requested(
    view: FeatureView, online: LmdbOnline, asked: Sequence[tuple[str | None, int]]
) -> list[list[float | None]]:
    examples = tt.FileSource("asked", "asked.parquet", timestamp="at", known_at="told")
    plan = OnlinePlan(tt.Model("m", task="regression", examples=examples, label="y", features=[view]), online)
    with np.errstate(all="ignore"):
        table = plan._view_table({"key": [key for key, _ in asked]}, [at for _, at in asked])
    return [[None if math.isnan(value) else float(value) for value in row] for row in table]


@settings(max_examples=80, deadline=None)
@given(random=RANDOM)
def test_batch_stream_and_request_say_what_the_oracle_says(random: Random, oracle: Oracle, bits: Bits) -> None:
    aggregations = features(random)
    corrections = random.random() < 0.5
    rows: list[Row] = history(random, corrections=corrections, tame=any(has_decay(each) for each in aggregations))
    view, table = view_of(aggregations, key=["id"], **options(random)), frame(rows)
    untils = sorted(random.randint(-5, 60) for _ in range(random.randint(1, 5)))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        online, whole = LmdbOnline(Path(one)), LmdbOnline(Path(other))
        stream(random, view, table, untils, online, whole)
        gone = set(replaced(table.lazy(), view.source, as_of=from_micros(untils[-1])).tolist())
        stand = [row for n, row in enumerate(rows) if n not in gone and row["known"] is not None]
        known = [row for row in stand if max(row["ts"], row["known"]) <= untils[-1]]
        asked = [(random.choice(KEYS), random.randint(-8, 80)) for _ in range(12)]
        keys = pl.DataFrame({"key": [key for key, _ in asked]}, schema={"key": pl.String})
        batch = view_values(view, frame(known), keys, np.array([at for _, at in asked])).rows()
        largest = 1.0 + sum(abs(v) for r in known for v in (r["x"], r["y"]) if v is not None and math.isfinite(v))
        for (key, at), offline, served in zip(asked, batch, requested(view, online, asked), strict=True):
            assert bits(offline) == bits(served), (key, at)
            assert same(view, offline, oracle(view, known, {"key": key}, at), bits, largest), (key, at)
        online.close()
        whole.close()
