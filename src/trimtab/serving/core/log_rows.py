"""Builds the rows of the prediction log from settled row groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.bundle.typed_packing import pack_rows
from trimtab.serving.core.in_flight import RowGroup, Vectors

MAX_INT32 = 2**31 - 1


def log_columns(groups: Sequence[RowGroup], *, logged_at: int, cpu_us: int) -> dict[str, Sequence[Any]]:
    """Return one column for each of PREDICTION_FIELDS that some row needs, with the rows of all groups.

    logged_at: microseconds since the epoch. cpu_us: each row's share of the processor time.
    """
    ids: list[str] = []
    models: list[str] = []
    versions: list[int] = []
    roles: list[str] = []
    revisions: list[int] = []
    event_times: list[int] = []
    entities: list[Any] = []
    scores: list[float | None] = []
    confidences: list[float | None] = []
    latencies: list[int] = []
    errors: list[str | None] = []
    served: list[bool] = []
    routes: list[str] = []
    by_class = typed = False
    for group in groups:
        request, variant, rows, indices = group.request, group.variant, group.rows, group.indices
        if indices is None:
            ids += request.ids
            event_times += request.at
            entities += request.entities
        else:
            ids += [request.ids[row] for row in indices]
            event_times += [request.at[row] for row in indices]
            entities += [request.entities[row] for row in indices]
        models += [request.table.model] * rows
        versions += [variant.bundle.version] * rows
        roles += [variant.role] * rows
        revisions += [request.table.revision] * rows
        served += [group.served] * rows
        routes += [group.route] * rows
        latencies += [min(group.latency_us, MAX_INT32)] * rows
        errors += [group.error] * rows
        own = _finite(group)
        scores += own
        typed = typed or variant.bundle.typed
        if variant.bundle.by_class:
            confidences += own
            by_class = True
        else:
            confidences += _confidences(own) if variant.bundle.spec.task == "binary" else [None] * rows
    rows = len(ids)
    columns: dict[str, Sequence[Any]] = {
        "prediction_id": ids,
        "model": models,
        "version": versions,
        "role": roles,
        "served": served,
        "route": routes,
        "revision": revisions,
        "event_time": event_times,
        "logged_at": [logged_at] * rows,
        "entities": entities,
        "features": _joined([group.vectors for group in groups], groups),
        "score": scores,
        "confidence": confidences,
        "latency_us": latencies,
        "cpu_us": [min(cpu_us, MAX_INT32)] * rows,
        "error": errors,
    }
    if by_class:
        columns["probabilities"] = _joined([group.probabilities for group in groups], groups)
    if typed:
        columns["typed"] = _typed(groups)
    return columns


def _typed(groups: Sequence[RowGroup]) -> list[bytes | None]:
    """Return the packed exact values of each row, None without typed features."""
    rows: list[bytes | None] = []
    for group in groups:
        rows += pack_rows(group.vectors) if isinstance(group.vectors, TypedMatrix) else [None] * group.rows
    return rows


def _finite(group: RowGroup) -> Sequence[float | None]:
    if group.scores is None:
        return [None] * group.rows
    if group.error is None:
        return group.scores
    return [score if math.isfinite(score) else None for score in group.scores]


def _confidences(scores: Sequence[float | None]) -> list[float | None]:
    """The probability of the class that is the more likely one."""
    return [None if score is None else score if score > 0.5 else 1.0 - score for score in scores]


def _joined(found: Sequence[Vectors | None], groups: Sequence[RowGroup]) -> Any:
    """Return one matrix where that is possible, which the log writes fastest, else one array a row.

    found: the matrix of each group, (rows, width).
    """
    if len(found) == 1 and found[0] is not None:
        return found[0]
    width = None if found[0] is None else found[0].shape[1]
    if width is not None and all(vectors is not None and vectors.shape[1] == width for vectors in found):
        return np.concatenate([vectors for vectors in found if vectors is not None])
    rows: list[Any] = []
    for group, vectors in zip(groups, found, strict=True):
        rows += [None] * group.rows if vectors is None else list(vectors)
    return rows
