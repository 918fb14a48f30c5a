"""Scores the parts of one turn that go to the same bundle, in one call. Called by desk.

Requests that arrive together share the fixed costs of the vectorizer and of ONNX Runtime, which for one
row are most of the costs. Values that a model does not take are refused before; when a shared call fails, each part
is tried alone: one client's bad value or a bundle's fault on one row harms nobody else.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.bundle.limits import InputCheck, unusual
from trimtab.errors import DataError, StoreError, Temporary
from trimtab.serving.core.column_errors import listed, missing, no_number, not_taken
from trimtab.serving.core.in_flight import Part, Work
from trimtab.serving.core.loaded_bundle import LoadedBundle

_ROW = re.compile(r"(?:^|(?<=, ))row ([0-9]+)(?=: )")
"""The place of a row in an error of a vectorizer."""

logger = logging.getLogger(__name__)

Columns = dict[str, Sequence[Any]]


def score(bundle: LoadedBundle, parts: Sequence[Part]) -> None:
    """Fill in vectors, scores, or why there are none. Never raises for what a part or the model does."""
    begun = time.perf_counter_ns()
    _vectorize(bundle, parts)
    vectorized = time.perf_counter_ns()
    for part in parts:
        if part.served:
            part.work.begun_ns, part.work.vectorized_ns = begun, vectorized
    ready = [part for part in parts if not part.error]
    if not ready:
        return
    X = _matrix(ready)
    if bundle.check is not None and not bundle.check.passes(X):
        ready = [part for part in ready if _takes(bundle, bundle.check, part)]
        if not ready:
            return
        X = _matrix(ready)
    try:
        _score(bundle, ready, X)
    except Exception as error:  # ONNX Runtime's errors have no common base
        logger.error("bundle %s failed to score", bundle.id, exc_info=error)  # once, however many rows are tried next
        for part in ready:
            try:
                _score(bundle, [part], _matrix([part]))
            except Exception as own:  # as above
                if not _blame_values(bundle, part, own):
                    part.fail(
                        500, f"model '{bundle.spec.model}' version {bundle.version} failed to score: {_first_line(own)}"
                    )


def vectorize(bundle: LoadedBundle, work: Work) -> None:
    """Compute the vectors of one work now; its failure is noted in it. For long requests."""
    part = Part(work, work.lanes[0], None)
    _vectorize(bundle, [part])
    if not part.error and bundle.check is not None and all(lane is work.table.champion for lane in work.lanes):
        _matrix([part])
        _takes(bundle, bundle.check, part)
    if part.error:
        work.failure = (part.status, part.error)


def _matrix(parts: Sequence[Part]) -> np.ndarray[Any, Any]:
    """Return the vectors of all parts, which are filled in."""
    rows = []
    for part in parts:
        part.vectors = vectors = _rows(part)
        rows.append(vectors)
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _takes(bundle: LoadedBundle, check: InputCheck, part: Part) -> bool:
    """Return whether a model takes all rows of a part, which is refused otherwise."""
    assert part.vectors is not None
    found = check.problem(part.vectors)
    if found is None:
        return True
    part.not_taken = True
    part.fail(400, not_taken(part, check, found))
    return False


def _blame_values(bundle: LoadedBundle, part: Part, error: Exception) -> bool:
    """Refuse a part whose values make a model raise that scores an ordinary row; tell whether that is so."""
    if part.vectors is None or isinstance(error, Temporary) or not unusual(part.vectors).any():
        return False
    try:
        bundle.scorer.score(np.zeros((1, part.vectors.shape[1]), dtype=np.float32))
    except Exception:  # a border: it is the model's fault then
        return False
    part.fail(400, no_number(part, np.ones(part.rows, dtype=bool)))
    part.not_taken = True
    return True


def _score(bundle: LoadedBundle, parts: Sequence[Part], X: np.ndarray[Any, Any]) -> None:
    scores: list[float] = bundle.scorer.score(X).tolist()
    finite = math.isfinite(sum(scores))  # a sum that overflows only costs the closer look
    start = 0
    for part in parts:
        part.scores = own = scores[start : start + part.rows]
        start += part.rows
        if not finite and not all(map(math.isfinite, own)):
            lost = np.array([not math.isfinite(value) for value in own])
            if part.vectors is not None and unusual(part.vectors[lost]).any(axis=1).all():
                part.fail(400, no_number(part, lost))
                part.not_taken, part.scores = True, None
                continue
            bad = next(value for value in own if not math.isfinite(value))
            part.fail(500, f"model '{bundle.spec.model}' version {bundle.version} gave {bad}; expected a number")


def _rows(part: Part) -> np.ndarray[Any, Any]:
    vectors = part.work.vectors[part.lane.bundle.recipe]
    return vectors if part.indices is None else vectors[part.indices]


def _vectorize(bundle: LoadedBundle, parts: Sequence[Part]) -> None:
    waiting: list[tuple[Part, Columns]] = []
    for part in parts:
        work = part.work
        if bundle.recipe in work.vectors:
            continue
        if work.features is not None:
            _take_features(bundle, part)
            continue
        try:
            waiting.append((part, _wanted(bundle, work)))
        except DataError as error:
            part.fail(400, str(error))
    if len(waiting) > 1 and _together(bundle, waiting):
        return
    failed: Exception | None = None
    for part, columns in waiting:
        try:
            part.work.vectors[bundle.recipe] = _vectors(bundle, columns, part.work.at)
        except DataError as error:
            part.fail(400, _counted_from(part.work.first_row, str(error)))
        except Exception as error:  # the project's transforms are strangers' code
            failed = error
            status = 503 if isinstance(error, StoreError) else 500
            part.fail(status, f"the features of model '{bundle.spec.model}' failed: {_first_line(error)}")
    if failed is not None:
        logger.error("the features of bundle %s failed", bundle.id, exc_info=failed)


def _together(bundle: LoadedBundle, waiting: Sequence[tuple[Part, Columns]]) -> bool:
    """Compute the vectors of several works in one call; False when they must be tried one by one."""
    columns: Columns = {
        name: [value for _, own in waiting for value in own[name]] for name in bundle.spec.request_columns
    }
    try:
        vectors = _vectors(bundle, columns, [at for part, _ in waiting for at in part.work.at])
    except Exception:  # each is tried alone next, and says then what is wrong
        return False
    start = 0
    for part, _ in waiting:
        end = start + part.work.rows
        part.work.vectors[bundle.recipe] = vectors[start:end]
        start = end
    return True


def _vectors(bundle: LoadedBundle, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
    try:
        vectors = np.ascontiguousarray(bundle.vectorizer.vectors(columns, at), dtype=np.float32)
    except SystemExit as error:  # strangers' code; it would end the gateway
        raise RuntimeError(f"they called sys.exit({error.code!r})") from error
    expected = (len(at), len(bundle.spec.features))
    if vectors.shape != expected:
        raise RuntimeError(f"they have shape {vectors.shape}; expected {expected}")
    return vectors


def _take_features(bundle: LoadedBundle, part: Part) -> None:
    work = part.work
    if bundle is not work.lanes[0].bundle and bundle.spec.features != work.lanes[0].bundle.spec.features:
        part.fail(400, f"the request brought the features of version {work.lanes[0].bundle.version}, which differ")
        return
    features = work.features
    if features is None or features.shape[1] != len(bundle.spec.features):
        given = 0 if features is None else features.shape[1]
        part.fail(
            400,
            f"each row has {given} features; model '{bundle.spec.model}' version {bundle.version} takes "
            f"{len(bundle.spec.features)}: {listed(bundle.spec.features)}",
        )
        return
    work.vectors[bundle.recipe] = features


def _wanted(bundle: LoadedBundle, work: Work) -> Columns:
    """Return the request columns of the bundle; a timestamp that the request left out is the rows' own time."""
    spec, columns = bundle.spec, work.columns
    found: Columns = {}
    for name in spec.request_columns:
        if name in columns:
            found[name] = columns[name]
        elif name == spec.timestamp:
            found[name] = work.at
        else:
            raise DataError(missing(name, spec.request_columns, columns))
    return found


def _counted_from(first_row: int, text: str) -> str:
    """Return an error about a row of a long request's piece with the row's number in the request."""
    return text if not first_row else _ROW.sub(lambda found: f"row {first_row + int(found[1])}", text, count=1)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
