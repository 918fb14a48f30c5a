"""The turns of some windows, read from the logs: numbers, texts and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.bundle.prompt_spec import TURN_FEATURES, TURN_NUMBERS
from trimtab.clock import to_micros
from trimtab.monitoring.prediction_rows import judged
from trimtab.monitoring.prompts.turn_reference import ReferenceTurn
from trimtab.monitoring.prompts.turn_texts import TurnTexts
from trimtab.records.monitoring import WindowReport
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START, Cursor, Predictions

BLOCK_ROWS = 50_000
Read = Callable[[Cursor], tuple[pa.Table, Cursor]]


def served_turns(predictions: Predictions, windows: Sequence[WindowReport], *, metric: str) -> list[ReferenceTurn]:
    """Return the turns of windows of one version of a prompt, in order of event time.

    Of each window the rows that it was judged on: the first ones in the log. metric: `llm.promote.metric`.
    """
    if not windows:
        return []
    prompt, version = windows[0].model, windows[0].version
    rows = _rows(predictions, prompt, version, sorted(windows, key=lambda w: w.start))
    ids = rows["prediction_id"].to_pylist()
    texts = TurnTexts(predictions, [prompt])
    texts.read()
    labels = _labels(predictions, prompt, metric)
    columns = zip(ids, rows["event_time"].cast(pa.int64()).to_pylist(), rows["features"].to_pylist(), strict=True)
    found = [
        ReferenceTurn(numbers=dict(zip(TURN_NUMBERS, values, strict=False)), text=text, label=labels.get(id_), at=at)
        for (id_, at, values), text in zip(columns, texts.of(prompt, version, ids), strict=True)
        if values is not None and len(values) == len(TURN_FEATURES)
    ]
    return sorted(found, key=lambda turn: turn.at or 0)


def _rows(predictions: Predictions, prompt: str, version: int, windows: Sequence[WindowReport]) -> pa.Table:
    starts = np.array([to_micros(window.start) for window in windows])
    ends = np.array([to_micros(window.end) for window in windows])
    left, parts = np.array([w.rows for w in windows]), list[pa.Table]()
    for table in _blocks(lambda after: predictions.read(after, limit=BLOCK_ROWS)):
        own = pc.and_(pc.equal(table["model"], prompt), pc.equal(table["version"], version))
        table = judged(table.filter(own)).select(["prediction_id", "event_time", "features"])
        at = table["event_time"].cast(pa.int64()).to_numpy()
        place = np.searchsorted(starts, at, side="right") - 1
        wanted = (place >= 0) & (at < ends[np.maximum(place, 0)])
        for window in np.unique(place[wanted]):
            of_window = np.flatnonzero(wanted & (place == window))
            wanted[of_window[left[window] :]] = False
            left[window] -= min(left[window], len(of_window))
        parts.append(table.filter(pa.array(wanted)))
    return pa.concat_tables(parts)


def _labels(predictions: Predictions, prompt: str, metric: str) -> Mapping[str, float]:
    """Return the label that counts of each turn."""
    parts = [
        label_rule.of_model(table, prompt, {prompt: metric}).select(["prediction_id", "label", "known_at"])
        for table in _blocks(lambda after: predictions.read_labels(after, limit=BLOCK_ROWS))
    ]
    found = pa.concat_tables(parts)
    found = found.take(pa.array(label_rule.ordered(found["known_at"].cast(pa.int64()).to_numpy())))
    return dict(zip(found["prediction_id"].to_pylist(), found["label"].to_pylist(), strict=True))


def _blocks(read: Read) -> Iterator[pa.Table]:
    """Yield all blocks of a log, an empty one at the end."""
    cursor = START
    while True:
        table, cursor = read(cursor)
        yield table
        if not table.num_rows:
            return
