"""Checks that all indices in the trees of a loaded estimator are within bounds.

scikit-learn follows the indices in its trees without checking their bounds, so a crafted file could make it read memory
outside of the tree, or loop for ever. skops therefore trusts no trees; Trimtab trusts them after this check.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

from trimtab.errors import DataError

CHECKED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree")
"""Types that are safe to make and, once checked, to use."""


NEW_INPUTS = ("steps", "transformers", "transformer_list", "final_estimator_")
"""Attributes of estimators that pass other columns to their parts than they get."""
ANY = 2**31 - 1


def check_trees(estimator: Any, *, where: str) -> None:
    """Check every tree of an estimator. Raises DataError for an index out of bounds."""
    for tree, features in _trees(estimator):
        sound = _sound(tree, features) if isinstance(tree, Tree) else _sound_predictor(tree, features)
        if not sound:
            raise DataError(f"{where}: a decision tree has an index out of bounds; the file is damaged or was crafted")


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
        if isinstance(one, Tree | TreePredictor):
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


def _sound(tree: Tree, features: int) -> bool:
    left, right = np.asarray(tree.children_left), np.asarray(tree.children_right)
    return _leads_down(left, right, left == -1) and _within(
        np.asarray(tree.feature)[left != -1], min(features, tree.n_features)
    )


def _sound_predictor(tree: TreePredictor, features: int) -> bool:
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


def _leads_down(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], leaf: np.ndarray[Any, Any]) -> bool:
    """Return True if the children of each inner node exist and come after it, which rules out circles."""
    own = np.arange(len(left))
    return all(bool(((child > own) & (child < len(left)))[~leaf].all()) for child in (left, right))


def _within(indices: np.ndarray[Any, Any], count: int) -> bool:
    return bool(((indices >= 0) & (indices < count)).all())
