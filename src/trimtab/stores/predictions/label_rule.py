"""Which label counts, where the log has several for a prediction. All who read labels ask here.

A label belongs to the prediction of its id and model; a label that names no model, to the predictions of its id in
every model. Of several labels for one prediction the one that became known last counts; of those that became known at
the same time, the one that was logged last.

A turn of a prompt has labels of several names, from several raters: the rule holds for each name and rater apart. Their
number says how bad the turn is, from 0 to 1 (`badness`). They are for the answer that the client got; a label for the
answer of another version in the same turn, such as a shadow's, has the id that `answer_id` gives. Readers that know one
label a prediction take those of one name, which `llm.promote.metric` selects (`of_metrics`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
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


def answer_id(turn: str, version: int) -> str:
    """Return by which id a label names what one version answered in a turn, where the client got another answer."""
    return f"{turn}@{version}"


def source(name: str) -> str:
    """Return who gives labels of a name: user, judge or person."""
    return {"judge": "judge", "human": "person"}.get(name.partition(":")[0], "user")


def is_of_metric(name: str | None, metric: str) -> bool:
    """Return True if a label of a turn is one of a metric, such as thumbs_down; a judge's is of any version.

    A label without a name is of every metric.
    """
    return name is None or name.partition("@")[0] == ("thumbs" if metric == THUMBS_DOWN else metric)


def is_bad(name: str | None, label: float) -> bool:
    """Return True if a label of a turn says that it was bad: more so than not, or that it was edited at all."""
    return label > 0 if name == "edited" else label >= 0.5


def of_metrics(labels: pa.Table, metrics: Mapping[str, str]) -> tuple[pa.Table, npt.NDArray[np.bool_] | None]:
    """Return labels with those of prompts as 1 (bad) or 0, and which rows count, (rows,); None: all.

    labels: rows of the log. metrics: prompt -> thumbs_down, edited, judge:NAME or human:NAME. All labels of models
    count.
    """
    if not metrics or not labels.num_rows:
        return labels, None
    models, names = labels["model"].to_pylist(), labels["name"].to_pylist()
    if not any(model in metrics for model in models):
        return labels, None
    counts = [
        model not in metrics or is_of_metric(name, metrics[model]) for model, name in zip(models, names, strict=True)
    ]
    bad = [
        float(is_bad(name, label)) if model in metrics and label is not None else label
        for model, name, label in zip(models, names, labels["label"].to_pylist(), strict=True)
    ]
    place = labels.schema.get_field_index("label")
    mapped = labels.set_column(place, labels.schema.field(place), pa.array(bad, pa.float64()))
    return mapped, np.array(counts)


def of_model(labels: pa.Table, model: str, metrics: Mapping[str, str]) -> pa.Table:
    """Return the labels that are for predictions of a model, or count for a prompt. metrics: as for `of_metrics`."""
    labels, counts = of_metrics(labels, metrics)
    own = belong(labels["model"], model)
    return labels.filter(own if counts is None else pc.and_(own, pa.array(counts)))


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
