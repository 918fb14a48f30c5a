"""Finds the features of a model whose numbers are codes of categories, so that monitoring counts them code by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import typed_places
from trimtab.definitions.models import Model
from trimtab.definitions.on_demand import OnDemand
from trimtab.stats.schemes import MAX_KNOWN, TOP_CATEGORIES

ROWS_A_CODE = 20
"""Numbers are taken for codes if there are at least so many rows for each of them on average."""


def category_features(model: Model, X: np.ndarray[Any, Any], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the features that are categories, in the order of the model's features.

    Args:
        model: its `categories` are taken as they are; None lets the rules of this file decide.
        X: training rows, float32 (rows, features).
        kinds: kind of each request column, from `features.request_types`.

    Returns:
        Booleans; features of type category; whole numbers of requests with at most 31 values; and what a transform
        makes of texts and booleans alone, if it has whole numbers with at most 1,000 values.
    """
    typed = typed_places(X)
    if model.categories is not None:
        texts = [model.feature_names[place] for place, kind in typed.items() if kind == "category"]
        return tuple(name for name in model.feature_names if name in model.categories or name in texts)
    most = dict[str, int]()
    for item in model.features:
        if isinstance(item, str):
            most[item] = {"boolean": MAX_KNOWN, "integer": TOP_CATEGORIES}.get(kinds.get(item, ""), 0)
        elif isinstance(item, OnDemand) and all(kinds.get(name) in ("text", "boolean") for name in item.inputs):
            most |= dict.fromkeys(item.feature_names, MAX_KNOWN)
    return tuple(
        name
        for place, name in enumerate(model.feature_names)
        if typed.get(place) in ("category", "boolean")
        or (most.get(name) and place not in typed and _are_codes(X[:, place], most[name]))
    )


def _are_codes(values: np.ndarray[Any, Any], most: int) -> bool:
    """Return True for whole numbers with at most so many values, and enough rows for each."""
    known = values[np.isfinite(values)]
    codes = np.unique(known)
    return 0 < len(codes) <= most and ROWS_A_CODE * len(codes) <= len(known) and bool((codes == np.rint(codes)).all())
