"""Which label counts, where the log has several for a prediction. All who read labels ask here.

A label belongs to the prediction of its id and model; a label that names no model, to the predictions of its id in
every model. Of several labels for one prediction the one that became known last counts; of those that became known at
the same time, the one that was logged last.

A turn of a prompt has labels of several names, from several raters: the rule holds for each name and rater apart. Their
number says how bad the turn is, from 0 to 1 (`badness`). Readers that know one label a prediction take those of one
name, which `llm.promote.metric` selects (`of_metrics`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = LazyLibrary("pyarrow")
    pc = LazyLibrary("pyarrow.compute")

Time = TypeVar("Time", int, datetime)


NAME = re.compile(r"thumbs|edited|(?:judge|human):[A-Za-z0-9_.-]+(?:@[A-Za-z0-9_.-]+)?")
"""Names of labels of turns."""
EXPECTED_NAME = "thumbs, edited, judge:NAME@VERSION or human:NAME"
WORDS = {"up": 1.0, "down": 0.0, "pass": 1.0, "fail": 0.0, "true": 1.0, "false": 0.0}
THUMBS_DOWN = "thumbs_down"
"""The metric of the label `thumbs`; that of other labels has their name, without a version."""


def badness(name: str, value: object) -> float:
    """Return how bad a turn is by one label, from 0 to 1. Raises ValueError saying what was expected.

    thumbs: up or down. edited: the share of the answer that was changed, or whether it was. judge, human: pass or fail,
    or a score from 0 to 1, of which 1 is best. Booleans are taken, too: true is a thumb up, changed, or passed.
    """
    number = float(value) if isinstance(value, bool | int | float) else None
    if isinstance(value, str) and value in WORDS:
        number = WORDS[value]
    words = {"thumbs": ("up", "down"), "edited": ("true", "false")}.get(name, ("pass", "fail", "true", "false"))
    fits = not isinstance(value, str) or value in words
    if number is None or not fits or not 0.0 <= number <= 1.0 or (name == "thumbs" and number not in (0.0, 1.0)):
        raise ValueError("up or down" if name == "thumbs" else f"{' or '.join(words[:2])}, or a number from 0 to 1")
    return number if name == "edited" else 1.0 - number


def source(name: str) -> str:
    """Return who gives labels of a name: user, judge or person."""
    return {"judge": "judge", "human": "person"}.get(name.partition(":")[0], "user")


def of_metrics(labels: pa.Table, metrics: Mapping[str, str]) -> pa.Table:
    """Return labels with those of prompts as readers of one label a prediction take them; there are as many rows.

    labels: rows of the log. metrics: prompt -> thumbs_down, edited, judge:NAME or human:NAME. A label of the metric
    becomes 1 (bad) or 0; every other label of the prompt gets a model that no prediction has.
    """
    models = labels["model"]
    ours = pc.is_in(models, value_set=pa.array(list(metrics), pa.string()))
    if not pc.any(ours).as_py():
        return labels
    named = pc.fill_null(pc.replace_substring_regex(labels["name"], "@.*", ""), "")
    wanted = pa.scalar(False)
    for model, metric in metrics.items():
        name = "thumbs" if metric == THUMBS_DOWN else metric
        wanted = pc.or_(wanted, pc.and_(pc.fill_null(pc.equal(models, model), False), pc.equal(named, name)))
    bad = pc.if_else(
        pc.equal(named, "edited"), pc.greater(labels["label"], 0.0), pc.greater_equal(labels["label"], 0.5)
    )
    model = pc.if_else(pc.and_(ours, pc.invert(wanted)), pc.binary_join_element_wise(models, named, "#"), models)
    label = pc.if_else(pc.and_(ours, wanted), bad.cast(pa.float64()), labels["label"])
    changed = {"model": model, "label": label}
    return pa.table([changed.get(name, labels[name]) for name in labels.column_names], schema=labels.schema)


def replaces(known_at: Time, earlier: Time) -> bool:
    """Return True if a label counts instead of another one for the same prediction that was logged before it."""
    return known_at >= earlier


def ordered(known_at: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the order in which labels take effect: of those for one prediction the last counts.

    known_at: of labels in the order of the log.
    """
    return known_at.argsort(kind="stable")


def belongs(named: str | None, model: str) -> bool:
    """Return True if a label that names a model, or none, is for predictions of `model`."""
    return named in (model, None)


def belong(named: pa.Array | pa.ChunkedArray, model: str) -> pa.Array | pa.ChunkedArray:
    """Return for each of many labels if it is for predictions of `model`. named: the model of each, or null."""
    return pc.fill_null(pc.equal(named, model), True)
