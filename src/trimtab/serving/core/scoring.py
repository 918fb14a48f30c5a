"""Scores the row groups of one batch that go to the same bundle, in one call.

Requests that arrive together share the fixed costs of the vectorizer and of ONNX Runtime, which are most of the costs
of one row. Values that a model does not take are refused before. When a shared call fails, each group is tried alone,
so that one client's bad value or a bundle's fault on one row fails no other request.
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
from trimtab.bundle.typed_matrix import contiguous, zero_rows
from trimtab.bundle.typed_packing import feature_schema
from trimtab.errors import DataError, StoreError, Temporary
from trimtab.serving.core.column_errors import listed, missing, no_number, not_taken
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup, Vectors
from trimtab.serving.core.loaded_bundle import LoadedBundle

_ROW = re.compile(r"(?:^|(?<=, ))row ([0-9]+)(?=: )")
"""The place of a row in an error of a vectorizer."""

logger = logging.getLogger(__name__)

Columns = dict[str, Sequence[Any]]


def score(bundle: LoadedBundle, groups: Sequence[RowGroup]) -> None:
    """Give each group its vectors and scores, or why it has none. Never raises for what a request or the model does."""
    begun = time.perf_counter_ns()
    _vectorize(bundle, groups)
    vectorized = time.perf_counter_ns()
    for group in groups:
        if group.served:
            group.request.outcome.vectorized(begun, vectorized)
    ready = [group for group in groups if not group.error]
    if not ready:
        return
    X = _matrix(ready)
    if bundle.check is not None and not bundle.check.passes(X):
        ready = [group for group in ready if _takes(bundle.check, group)]
        if not ready:
            return
        X = _matrix(ready)
    try:
        _score(bundle, ready, X)
    except Exception as error:  # ONNX Runtime's errors have no common base
        logger.error("bundle %s failed to score", bundle.id, exc_info=error)  # once, however many rows are tried next
        for group in ready:
            _score_alone(bundle, group)


def vectorize(bundle: LoadedBundle, request: InFlightRequest) -> None:
    """Compute the vectors of one chunk of a long request now; the request fails when they cannot be."""
    group = RowGroup(request, request.variants[0], None)
    _vectorize(bundle, [group])
    champion = request.table.champion
    if not group.error and bundle.check is not None and all(variant is champion for variant in request.variants):
        group.take_vectors()
        _takes(bundle.check, group)
    if group.error:
        request.outcome.fail(group.status, group.error)


def _matrix(groups: Sequence[RowGroup]) -> Vectors:
    """Return the vectors of all groups in one matrix."""
    rows = [group.take_vectors() for group in groups]
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _takes(check: InputCheck, group: RowGroup) -> bool:
    """Return True if a model takes all rows of a group; refuse the group otherwise."""
    assert group.vectors is not None
    found = check.problem(group.vectors)
    if found is None:
        return True
    group.refuse(not_taken(group, check, found))
    return False


def _score_alone(bundle: LoadedBundle, group: RowGroup) -> None:
    try:
        _score(bundle, [group], group.take_vectors())
    except Exception as error:  # ONNX Runtime's errors have no common base
        if _is_of_its_values(bundle, group, error):
            group.refuse(no_number(group, np.ones(group.rows, dtype=bool)))
        else:
            model = f"model '{bundle.spec.model}' version {bundle.version}"
            group.fail(500, f"{model} failed to score: {_first_line(error)}")


def _is_of_its_values(bundle: LoadedBundle, group: RowGroup, error: Exception) -> bool:
    """Return True if a model raises for the unusual values of a group, because it scores an ordinary row."""
    if group.vectors is None or isinstance(error, Temporary) or not unusual(group.vectors).any():
        return False
    try:
        bundle.scorer.score(zero_rows(feature_schema(bundle.spec), 1, group.vectors.shape[1]))
    except Exception:  # a border: it is the model's fault then
        return False
    return True


def _score(bundle: LoadedBundle, groups: Sequence[RowGroup], X: Vectors) -> None:
    found, probabilities = bundle.scorer.score(X), None
    if bundle.by_class:
        found, probabilities = found.max(axis=1), found
    scores: list[float] = found.tolist()
    finite = math.isfinite(sum(scores))  # a sum that overflows only costs the closer look
    start = 0
    for group in groups:
        end = start + group.rows
        own = scores[start:end]
        group.scored(own)
        if probabilities is not None:
            group.give_probabilities(probabilities[start:end])
        start = end
        if not finite and not all(map(math.isfinite, own)):
            _fail_non_finite(bundle, group, own)


def _fail_non_finite(bundle: LoadedBundle, group: RowGroup, scores: Sequence[float]) -> None:
    """Refuse a group whose unusual values explain all scores that are no numbers; else it is the model's fault."""
    lost = np.array([not math.isfinite(value) for value in scores])
    if group.vectors is not None and unusual(group.vectors[lost]).any(axis=1).all():
        group.refuse(no_number(group, lost))
        return
    bad = next(value for value in scores if not math.isfinite(value))
    group.fail(500, f"model '{bundle.spec.model}' version {bundle.version} gave {bad}; expected a number")


def _vectorize(bundle: LoadedBundle, groups: Sequence[RowGroup]) -> None:
    waiting: list[tuple[RowGroup, Columns]] = []
    for group in groups:
        request = group.request
        if bundle.recipe in request.outcome.vectors:
            continue
        if request.features is not None:
            _take_features(bundle, group)
            continue
        try:
            waiting.append((group, _wanted(bundle, request)))
        except DataError as error:
            group.fail(400, str(error))
    if len(waiting) > 1 and _together(bundle, waiting):
        return
    failed: Exception | None = None
    for group, columns in waiting:
        request = group.request
        try:
            request.outcome.keep_vectors(bundle, _vectors(bundle, columns, request.at))
        except DataError as error:
            group.fail(400, _counted_from(request.first_row, str(error)))
        except Exception as error:  # strangers' code: the project's transforms
            failed = error
            status = 503 if isinstance(error, StoreError) else 500
            group.fail(status, f"the features of model '{bundle.spec.model}' failed: {_first_line(error)}")
    if failed is not None:
        logger.error("the features of bundle %s failed", bundle.id, exc_info=failed)


def _together(bundle: LoadedBundle, waiting: Sequence[tuple[RowGroup, Columns]]) -> bool:
    """Compute the vectors of several requests in one call; False when they must be tried one by one."""
    columns: Columns = {
        name: [value for _, own in waiting for value in own[name]] for name in bundle.spec.request_columns
    }
    try:
        vectors = _vectors(bundle, columns, [at for group, _ in waiting for at in group.request.at])
    except Exception:  # each is tried alone next, and its own error says what is wrong
        return False
    start = 0
    for group, _ in waiting:
        end = start + group.request.rows
        group.request.outcome.keep_vectors(bundle, vectors[start:end])
        start = end
    return True


def _vectors(bundle: LoadedBundle, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> Vectors:
    try:
        vectors = contiguous(bundle.vectorizer.vectors(columns, at))
    except SystemExit as error:  # strangers' code; it would end the gateway
        raise RuntimeError(f"they called sys.exit({error.code!r})") from error
    expected = (len(at), len(bundle.spec.features))
    if vectors.shape != expected:
        raise RuntimeError(f"they have shape {vectors.shape}; expected {expected}")
    return vectors


def _take_features(bundle: LoadedBundle, group: RowGroup) -> None:
    request, features = group.request, group.request.features
    assert features is not None
    routed = request.variants[0].bundle
    if bundle.spec.feature_types:
        typed = listed([f"{name} ({kind})" for name, kind in bundle.spec.feature_types.items()])
        group.fail(400, f"model '{bundle.spec.model}' has features that are no numbers: {typed}; send request columns")
        return
    expected = bundle.spec.features
    if bundle is not routed and expected != routed.spec.features:
        group.fail(400, f"the request brought the features of version {routed.version}, which differ")
    elif features.shape[1] != len(expected):
        group.fail(
            400,
            f"each row has {features.shape[1]} features; model '{bundle.spec.model}' version {bundle.version} takes "
            f"{len(expected)}: {listed(expected)}",
        )
    else:
        request.outcome.keep_vectors(bundle, features)


def _wanted(bundle: LoadedBundle, request: InFlightRequest) -> Columns:
    """Return the request columns of the bundle; a timestamp that the request left out is the rows' own time."""
    spec, columns = bundle.spec, request.columns
    found: Columns = {}
    for name in spec.request_columns:
        if name in columns:
            found[name] = columns[name]
        elif name == spec.timestamp:
            found[name] = request.at
        else:
            raise DataError(missing(name, spec.request_columns, columns))
    return found


def _counted_from(first_row: int, text: str) -> str:
    """Return an error about a row of a long request's piece with the row's number in the request."""
    return text if not first_row else _ROW.sub(lambda found: f"row {first_row + int(found[1])}", text, count=1)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
