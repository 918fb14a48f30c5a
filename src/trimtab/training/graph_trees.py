"""Corrects trees in ONNX graphs: the branch of missing values, and thresholds as float32.

Converters lose information that the ONNX format can store. skl2onnx sends every missing value of a forest to the
right-hand branch; onnxmltools rounds LightGBM's float64 thresholds to the nearest float32, which may lie on the other
side of a float32 value of a row. Each tree of the estimator is walked together with its copy in the graph; a copy of
another shape is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LIBRARIES = ("sklearn", "lightgbm", "xgboost")
ENSEMBLES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
TRACKS = "nodes_missing_value_tracks_true"
NO_MISSING, ZERO_IS_MISSING, NAN_IS_MISSING = 0, 1, 2
"""How a split of LightGBM treats missing values: bits 2 and 3 of its decision_type. With NO_MISSING, NaN is 0."""
LIGHTGBM_ZERO = float(np.float32(1e-35))
"""LightGBM treats numbers up to this magnitude as 0 (kZeroThreshold in its meta.h)."""


@dataclass(frozen=True)
class Split:
    """One inner node of an estimator's tree: x <= threshold goes left; NaN goes left if `nan_left`, else right."""

    feature: int
    threshold: float
    nan_left: bool
    left: int
    right: int


Array = np.ndarray[Any, Any]
Tree = dict[int, Split]
"""Inner nodes by number; other numbers are leaves. The root is node 0."""


def correct_trees(graph: Any, estimator: Any) -> None:
    """Correct the tree nodes of an onnx.ModelProto in place, where the trees of the estimator can be read."""
    library = type(estimator).__module__.partition(".")[0]
    ensembles = [Ensemble(node) for node in graph.graph.node if node.op_type in ENSEMBLES]
    if not ensembles:
        return
    if library == "sklearn":
        _correct_by_outline(ensembles, list(_sklearn_trees(estimator)))
    elif library == "lightgbm" and len(ensembles) == 1:
        booster = estimator.booster_ if hasattr(estimator, "booster_") else estimator
        trees = _lightgbm_trees(booster.model_to_string(num_iteration=booster.best_iteration))
        if sorted(ensembles[0].roots) == list(range(len(trees))):
            for number, tree in enumerate(trees):
                if tree is not None:
                    ensembles[0].correct(number, tree)


class Ensemble:
    """The trees of one tree-ensemble node of a graph."""

    def __init__(self, node: Any) -> None:
        self._own = {attribute.name: attribute for attribute in node.attribute}
        trees, numbers = self._own["nodes_treeids"].ints, self._own["nodes_nodeids"].ints
        self._place = {(tree, number): place for place, (tree, number) in enumerate(zip(trees, numbers, strict=True))}
        self._yes, self._no = self._own["nodes_truenodeids"].ints, self._own["nodes_falsenodeids"].ints
        self._features = self._own["nodes_featureids"].ints
        self._values = self._own["nodes_values"].floats
        self._modes = self._own["nodes_modes"].strings
        self.roots: dict[int, int] = {}
        """Number of the root node by tree, which is the first node of the tree."""
        for tree, number in zip(trees, numbers, strict=True):
            self.roots.setdefault(tree, number)

    def thresholds(self) -> Iterator[tuple[int, float]]:
        """Yield column and threshold of every inner node."""
        for feature, value, mode in zip(self._features, self._values, self._modes, strict=True):
            if mode != b"LEAF":
                yield feature, value

    def outline(self, tree: int) -> tuple[tuple[int, ...], Array] | None:
        """Return columns (-1 for a leaf) and thresholds in preorder; None if a split is not x <= threshold."""
        columns, thresholds, waiting = [], [], [self.roots[tree]]
        while waiting:
            place = self._place[tree, waiting.pop()]
            leaf = self._modes[place] == b"LEAF"
            if not leaf and self._modes[place] != b"BRANCH_LEQ":
                return None
            columns.append(-1 if leaf else self._features[place])
            thresholds.append(0.0 if leaf else self._values[place])
            if not leaf:
                waiting += [self._no[place], self._yes[place]]
        return tuple(columns), np.array(thresholds, dtype=np.float32)

    def correct(self, tree: int, own: Tree) -> None:
        """Copy the branches of missing values and the thresholds of `own`, if the tree has the same shape."""
        pairs: list[tuple[int, Split]] = []
        waiting = [(self.roots[tree], 0)]
        while waiting:
            number, other = waiting.pop()
            place, split = self._place[tree, number], own.get(other)
            if split is None or self._modes[place] == b"LEAF":
                if split is not None or self._modes[place] != b"LEAF":
                    return
                continue
            if self._modes[place] != b"BRANCH_LEQ" or self._features[place] != split.feature:
                return
            pairs.append((place, split))
            waiting += [(self._yes[place], split.left), (self._no[place], split.right)]
        for place, split in pairs:
            self._own[TRACKS].ints[place] = int(split.nan_left)
            self._values[place] = float32_floor(split.threshold)


def float32_floor(value: float) -> float:
    """Return the largest float32 that is not above a value; for every float32 x, x <= it equals x <= value."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > value else rounded)


def thresholds_of(graph: bytes) -> Iterator[tuple[int, float]]:
    """Yield column and threshold of all splits of a serialized graph that read its input "X"."""
    # imported here, because it takes a while to import
    import onnx

    for node in onnx.load_from_string(graph).graph.node:
        if node.op_type in ENSEMBLES and list(node.input) == ["X"]:
            yield from Ensemble(node).thresholds()


def _correct_by_outline(ensembles: Sequence[Ensemble], trees: Sequence[Tree]) -> None:
    """Correct trees of unknown order in the graph, which are matched by outline.

    A tree with several matches is changed only if they send missing values to the same branches.
    """
    by_columns: dict[tuple[int, ...], list[tuple[Array, Tree]]] = {}
    for tree in trees:
        columns, thresholds = _outline(tree)
        by_columns.setdefault(columns, []).append((thresholds, tree))
    for ensemble in ensembles:
        for number in ensemble.roots:
            outline = ensemble.outline(number)
            if outline is None:
                continue
            columns, found = outline
            alike = [tree for thresholds, tree in by_columns.get(columns, []) if _close(found, thresholds)]
            if alike and all(_directions(tree) == _directions(alike[0]) for tree in alike):
                ensemble.correct(number, alike[0])


def _close(found: Array, thresholds: Array) -> bool:
    """Return True if thresholds are equal up to rounding to float32."""
    with np.errstate(invalid="ignore"):  # splits on missing values only have infinite thresholds
        same = (found == thresholds) | (np.abs(found - thresholds) <= 2 * np.spacing(np.abs(found)))
    return bool(same.all())


def _outline(tree: Tree) -> tuple[tuple[int, ...], Array]:
    """Return columns (-1 for a leaf) and thresholds in preorder."""
    splits = list(_walk(tree))
    columns = tuple(-1 if split is None else split.feature for split in splits)
    return columns, np.array([0.0 if split is None else split.threshold for split in splits], dtype=np.float32)


def _directions(tree: Tree) -> list[bool]:
    return [split.nan_left for split in _walk(tree) if split is not None]


def _walk(tree: Tree) -> Iterator[Split | None]:
    """Yield the nodes in preorder; None for a leaf."""
    waiting = [0]
    while waiting:
        split = tree.get(waiting.pop())
        yield split
        if split is not None:
            waiting += [split.right, split.left]


def _sklearn_trees(estimator: Any) -> Iterator[Tree]:
    """Yield the trees of forests and gradient boosting, also inside of pipelines and ensembles of any depth."""
    # imported here, because it takes seconds to import
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree as SklearnTree

    for one in inner_objects(estimator):
        if isinstance(one, SklearnTree):
            yield _sklearn_tree(one)
        elif isinstance(one, TreePredictor):
            yield _boosted_tree(one.nodes)
        elif type(one).__module__ == "lightgbm.basic" and type(one).__name__ == "Booster":
            text = one.model_to_string(num_iteration=one.best_iteration)
            yield from (tree for tree in _lightgbm_trees(text) if tree is not None)


def inner_objects(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and the objects inside of it at any depth (steps, members, trees, boosters), each once."""
    waiting = [estimator]
    seen: dict[int, Any] = {}  # keeps the objects alive, because ids are unique only among living objects
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, str | bytes | int | float | type | None):
            continue
        seen[id(one)] = one
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, np.ndarray):
            waiting += one.ravel().tolist() if one.dtype == object else []
        else:
            yield one
            if type(one).__module__.partition(".")[0] in LIBRARIES and hasattr(one, "__dict__"):
                waiting += vars(one).values()


def _sklearn_tree(tree: Any) -> Tree:
    columns = (tree.feature, tree.threshold, tree.missing_go_to_left, tree.children_left, tree.children_right)
    rows = zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    return {
        number: Split(feature, threshold, bool(nan_left), left, right)
        for number, (feature, threshold, nan_left, left, right) in enumerate(rows)
        if left != -1
    }


def _boosted_tree(nodes: Any) -> Tree:
    """Read a tree of HistGradientBoosting; one with a split by categories is empty, so no tree of a graph matches."""
    if nodes["is_categorical"].any():
        return {}
    names = ("is_leaf", "feature_idx", "num_threshold", "missing_go_to_left", "left", "right")
    rows = zip(*(nodes[name].tolist() for name in names), strict=True)
    return {
        number: Split(feature, threshold, bool(nan_left), left, right)
        for number, (leaf, feature, threshold, nan_left, left, right) in enumerate(rows)
        if not leaf
    }


def _lightgbm_trees(text: str) -> list[Tree | None]:
    """Read the trees of LightGBM's text; None for a tree with splits that the ONNX format does not have."""
    found: list[Tree | None] = []
    for part in text.split("\nTree=")[1:]:
        lines = dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
        found.append(_lightgbm_tree(lines) if lines.get("num_cat") == "0" else None)
    return found


def _lightgbm_tree(lines: dict[str, str]) -> Tree | None:
    def numbers(name: str) -> list[str]:
        return lines.get(name, "").split()

    def child(text: str) -> int:
        return int(text) if int(text) >= 0 else -1

    tree: Tree = {}
    names = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
    for number, texts in enumerate(zip(*(numbers(name) for name in names), strict=True)):
        feature, threshold, kind = int(texts[0]), float(texts[1]), int(texts[2])
        missing = kind >> 2 & 3
        if kind & 1 or missing == ZERO_IS_MISSING:
            return None
        if abs(threshold) <= LIGHTGBM_ZERO:
            threshold = LIGHTGBM_ZERO if threshold >= 0.0 else float(np.nextafter(-LIGHTGBM_ZERO, -np.inf))
        nan_left = threshold >= 0.0 if missing == NO_MISSING else bool(kind & 2)
        tree[number] = Split(feature, threshold, nan_left, child(texts[3]), child(texts[4]))
    return tree
