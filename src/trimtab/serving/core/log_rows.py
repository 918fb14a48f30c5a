"""The rows of the prediction log for some scored parts. Called by journal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.serving.core.in_flight import Part

MAX_INT32 = 2**31 - 1


def log_columns(parts: Sequence[Part], *, logged_at: int, cpu_us: int) -> dict[str, Sequence[Any]]:
    """Return one column a field of PREDICTIONS for the rows of all parts.

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
    for part in parts:
        work, lane, rows, indices = part.work, part.lane, part.rows, part.indices
        if indices is None:
            ids += work.ids
            event_times += work.at
            entities += work.entities
        else:
            ids += [work.ids[row] for row in indices]
            event_times += [work.at[row] for row in indices]
            entities += [work.entities[row] for row in indices]
        models += [work.table.model] * rows
        versions += [lane.bundle.version] * rows
        roles += [lane.role] * rows
        revisions += [work.table.revision] * rows
        served += [part.served] * rows
        routes += [part.route] * rows
        latencies += [min(part.latency_us, MAX_INT32)] * rows
        errors += [part.error] * rows
        own = _finite(part)
        scores += own
        confidences += _confidences(own) if lane.bundle.spec.task == "binary" else [None] * rows
    rows = len(ids)
    return {
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
        "features": _features(parts),
        "score": scores,
        "confidence": confidences,
        "latency_us": latencies,
        "cpu_us": [min(cpu_us, MAX_INT32)] * rows,
        "error": errors,
    }


def _finite(part: Part) -> Sequence[float | None]:
    if part.scores is None:
        return [None] * part.rows
    if part.error is None:
        return part.scores
    return [score if math.isfinite(score) else None for score in part.scores]


def _confidences(scores: Sequence[float | None]) -> list[float | None]:
    """The probability of the class that is the more likely one."""
    return [None if score is None else score if score > 0.5 else 1.0 - score for score in scores]


def _features(parts: Sequence[Part]) -> Any:
    """Return one matrix where that is possible, which the log writes fastest, else one array a row."""
    found = [part.vectors for part in parts]
    if len(found) == 1 and found[0] is not None:
        return found[0]
    width = None if found[0] is None else found[0].shape[1]
    if width is not None and all(vectors is not None and vectors.shape[1] == width for vectors in found):
        return np.concatenate([vectors for vectors in found if vectors is not None])
    rows: list[Any] = []
    for part, vectors in zip(parts, found, strict=True):
        rows += [None] * part.rows if vectors is None else list(vectors)
    return rows
