"""Checks that all indices in the trees and splines of a loaded estimator are within bounds.

scikit-learn and SciPy follow these indices without checking their bounds, so a crafted file could make them read memory
outside of a tree, or loop for ever. skops therefore trusts no trees; Trimtab trusts them after this check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from trimtab.errors import DataError

NEW_INPUTS = ("steps", "transformers", "transformer_list", "final_estimator_")
"""Attributes of estimators that pass other columns to their parts than they get."""
ANY = 2**31 - 1


def check_trees(estimator: Any, *, where: str) -> None:
    """Check every tree of an estimator. Raises DataError for an index out of bounds."""
    for tree, features in _trees(estimator):
        what, is_sound = CHECKS[_full_name(tree)]
        try:
            sound = is_sound(tree, features)
        except (AttributeError, TypeError, ValueError):  # not even the parts that such a tree has
            sound = False
        if not sound:
            raise DataError(f"{where}: a {what} has an index out of bounds; the file is damaged or was crafted")


def _trees(estimator: Any) -> Iterator[tuple[Any, int]]:
    """Yield trees with the number of columns that the estimators around them check their rows for."""
    waiting: list[tuple[Any, int]] = [(estimator, ANY)]
    seen: dict[int, tuple[Any, int]] = {}  # keeps the objects alive, because ids are unique only among living objects
    while waiting:
        one, features = waiting.pop()
        if isinstance(one, str | bytes | int | float | type | None):
            continue
        if id(one) in seen and seen[id(one)][1] <= features:
            continue
        seen[id(one)] = (one, features)
        if _full_name(one) in CHECKS:
            yield one, features
        else:
            waiting += _parts(one, features)


def _parts(one: Any, features: int) -> list[tuple[Any, int]]:
    if isinstance(one, dict):
        return [(part, features) for pair in one.items() for part in pair]
    if isinstance(one, list | tuple | set | frozenset):
        return [(part, features) for part in one]
    if isinstance(one, np.ndarray):
        return [(part, features) for part in one.ravel().tolist()] if one.dtype == object else []
    if isinstance(one, partial):
        return [(part, features) for part in (one.func, *one.args, *one.keywords.values())]
    if isinstance(one, ModuleType):
        return []
    own = getattr(one, "__dict__", {})
    if any(name in own for name in NEW_INPUTS):
        features = ANY
    elif isinstance(own.get("n_features_in_"), int):
        features = min(features, own["n_features_in_"])
    bound = getattr(one, "__self__", None)  # of a method
    return [(part, features) for part in (*own.values(), bound)]


def _full_name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"


def _sound(tree: Any, features: int) -> bool:
    left, right = np.asarray(tree.children_left), np.asarray(tree.children_right)
    return _leads_down(left, right, left == -1) and _within(
        np.asarray(tree.feature)[left != -1], min(features, tree.n_features)
    )


def _sound_predictor(tree: Any, features: int) -> bool:
    nodes = tree.nodes
    inner = nodes["is_leaf"] == 0
    categorical = inner & (nodes["is_categorical"] != 0)
    sets = min(len(tree.raw_left_cat_bitsets), len(tree.binned_left_cat_bitsets))
    return (
        len(nodes) > 0
        and _leads_down(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), ~inner)
        and _within(nodes["feature_idx"][inner], features)
        and _within(nodes["bitset_idx"][categorical], sets)
    )


def _sound_neighbours(tree: Any, features: int) -> bool:
    """Check a KDTree or BallTree, whose node i has the children 2 i + 1 and 2 i + 2."""
    data, order, nodes, bounds, *_, weights = tree.__getstate__()
    after = 2 * np.flatnonzero(nodes["is_leaf"] == 0) + 2
    return (
        data.ndim == 2
        and len(nodes) > 0
        and order.shape == (len(data),)
        and bounds.shape[1:] == (len(nodes), data.shape[1])
        and (weights is None or len(weights) == len(data))
        and _within(order, len(data))
        and _within(after, len(nodes))
        and bool(((nodes["idx_start"] >= 0) & (nodes["idx_end"] <= len(data))).all())
    )


def _sound_spline(spline: Any, features: int) -> bool:
    knots, coefficients, degree = spline.t, spline.c, spline.k
    return (
        isinstance(degree, int)
        and 0 <= degree < len(coefficients)
        and knots.ndim == 1
        and len(knots) >= len(coefficients) + degree + 1
        and bool((np.diff(knots) >= 0).all())
    )


def _leads_down(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], leaf: np.ndarray[Any, Any]) -> bool:
    """Return True if the children of each inner node exist and come after it, which rules out circles."""
    own = np.arange(len(left))
    return all(bool(((child > own) & (child < len(left)))[~leaf].all()) for child in (left, right))


def _within(indices: np.ndarray[Any, Any], count: int) -> bool:
    return bool(((indices >= 0) & (indices < count)).all())


CHECKS: dict[str, tuple[str, Callable[[Any, int], bool]]] = {
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": ("decision tree", _sound_predictor),
    "sklearn.neighbors._ball_tree.BallTree": ("tree of neighbours", _sound_neighbours),
    "sklearn.neighbors._kd_tree.KDTree": ("tree of neighbours", _sound_neighbours),
    "sklearn.tree._tree.Tree": ("decision tree", _sound),
    "scipy.interpolate._bsplines.BSpline": ("spline", _sound_spline),
}
"""Types that are safe to make and, once checked, to use: what they are, and the check of one."""
CHECKED = tuple(CHECKS)
