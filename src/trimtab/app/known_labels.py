"""What the log knows of some predictions: which labels are news, and which ids were predicted. Called by outcomes.

repeated        the same label again: not written again when it says nothing new, no known_at or one that is there
contradictory   another label for the same prediction: both stay in the log, the one with the latest known_at counts
unknown id      taken; the prediction may still come, or be in the log of somebody else
The gateway's workers judge alike, as far as they remember (serving.core.feedback); here the whole log is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.stores.predictions import START, Predictions

BLOCK_ROWS = 50_000
"""Rows of the log that are held at a time."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of some rows. news: those to be written, with the columns id, label and known_at (never null)."""

    news: pl.DataFrame
    repeated: int
    contradicting: int


class KnownLabels:
    """The labels that are known of a model's predictions; `judge` adds to them."""

    def __init__(self, log: Predictions, model: str, ids: pl.Series) -> None:
        """Read the label log for some ids."""
        self._latest: dict[str, tuple[float, int]] = {}
        self._said: set[tuple[str, float, int]] = set()
        wanted = ids.unique().to_arrow().cast(pa.string())
        block, cursor = log.read_labels(START, limit=BLOCK_ROWS)
        while block.num_rows and len(wanted):
            own = block.filter(_of(block, model, wanted))
            moments = own["known_at"].cast(pa.int64()).to_pylist()
            for id_, label, moment in zip(
                own["prediction_id"].to_pylist(), own["label"].to_pylist(), moments, strict=True
            ):
                self._learn(id_, label, moment)
            block, cursor = log.read_labels(cursor, limit=BLOCK_ROWS)

    def judge(self, rows: pl.DataFrame, *, now: int) -> Judged:
        """Return which rows are news, and what the others were.

        rows: columns id, label and known_at. Where no moment is given, of several rows for one id the last counts,
        and it is news when it says something else than what is known.
        """
        news: list[tuple[str, float, int]] = []
        last = {id_: n for n, id_ in enumerate(rows["id"].to_list())}
        repeated = contradicting = 0
        for n, (id_, label, given) in enumerate(rows.iter_rows()):
            if given is None and last[id_] != n:
                final = rows["label"][last[id_]]
                repeated, contradicting = repeated + (label == final), contradicting + (label != final)
                continue
            moment, before = now if given is None else given, self._latest.get(id_)
            same = before is not None and before[0] == label
            if (id_, label, moment) in self._said or (given is None and same):
                repeated += 1
                continue
            repeated, contradicting = repeated + same, contradicting + (before is not None and not same)
            news.append((id_, label, moment))
            self._learn(id_, label, moment)
        schema = {"id": pl.String, "label": pl.Float64, "known_at": pl.Int64}
        return Judged(
            news=pl.DataFrame(news, schema=schema, orient="row"), repeated=repeated, contradicting=contradicting
        )

    def _learn(self, id_: str, label: float, moment: int) -> None:
        self._said.add((id_, label, moment))
        if id_ not in self._latest or moment >= self._latest[id_][1]:  # of one moment the one that came last counts
            self._latest[id_] = (label, moment)


def without_prediction(log: Predictions, model: str, ids: pl.Series) -> int:
    """Return how many of some ids, each counted as often as it is there, no prediction of a model in the log has."""
    missing = set(ids.unique().to_list())
    block, cursor = log.read(START, limit=BLOCK_ROWS)
    while block.num_rows and missing:
        own = block["prediction_id"].filter(pc.equal(block["model"], model))
        missing.difference_update(own.to_pylist())
        block, cursor = log.read(cursor, limit=BLOCK_ROWS)
    return int(ids.is_in(list(missing)).sum()) if missing else 0


def _of(block: pa.Table, model: str, ids: pa.Array) -> pa.ChunkedArray:
    own = pc.fill_null(pc.equal(block["model"], model), True)
    return pc.and_(own, pc.is_in(block["prediction_id"], value_set=ids))
