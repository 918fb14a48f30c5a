"""Names of classes become indices; a part without a class, unknown labels and wrong weights are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import trimtab as tt
from trimtab.clock import ManualClock
from trimtab.definitions.models import Model
from trimtab.errors import DataError, DefinitionError
from trimtab.features.training_frames import training_frame
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.dataset import Frozen, freeze, id_of, load

ROWS = 40
START = datetime(2026, 1, 1, tzinfo=UTC)
Load = Callable[..., Frozen]


def model(**changed: Any) -> Model:
    """Return a model of one feature."""
    source = tt.FileSource("rows", "rows.parquet", timestamp="at")
    usual: dict[str, Any] = {"task": "multiclass", "examples": source, "label": "kind", "features": ["x"]}
    return tt.Model("m", **{**usual, **changed})


def table(kinds: list[Any], **columns: Any) -> pl.DataFrame:
    """Return the rows of the source, one an hour."""
    at = [START + timedelta(hours=place) for place in range(len(kinds))]
    return pl.DataFrame({"at": at, "x": np.arange(len(kinds)) * 1.0, "kind": kinds, **columns})


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Freeze the rows of a model and load them again."""
    artifacts = FolderArtifacts(tmp_path / "artifacts")

    def make(rows: pl.DataFrame, model: Model, *, min_examples: int = 10) -> Frozen:
        as_of = START + timedelta(days=9)
        frame = training_frame(model, lambda _: rows.lazy(), as_of=as_of)
        version = freeze(
            frame,
            model=model,
            tables={"rows": "rows@1"},
            as_of=as_of,
            start=None,
            holdout_share=0.5,
            min_examples=min_examples,
            artifacts=artifacts,
            clock=ManualClock(as_of),
        )
        assert id_of(frame, model, version, list(load(version, artifacts).holdout_groups))[0] == version.id
        return load(version, artifacts)

    return make


@pytest.mark.parametrize(
    ("kinds", "classes"),
    [
        (["b", "a", "c", "a"], ("a", "b", "c")),
        ([10, 9, 2, 9], ("2", "9", "10")),
        ([2.0, 0.0, 1.0, 0.0], ("0", "1", "2")),
        ([True, False, True, False], ("false", "true")),
    ],
)
def test_the_distinct_labels_are_the_classes(kinds: list[Any], classes: tuple[str, ...], loaded: Load) -> None:
    frozen = loaded(table(kinds * 10), model())
    names = [str(kind).lower().removesuffix(".0") for kind in kinds * 10]
    assert frozen.version.classes == frozen.train.classes == classes
    both = frozen.train.followed_by(frozen.holdout)
    assert [classes[int(place)] for place in both.y] == names


def test_declared_classes_keep_their_order(loaded: Load) -> None:
    frozen = loaded(table(["low", "top", "mid", "low"] * 10), model(classes=["mid", "low", "top"]))
    assert frozen.version.classes == ("mid", "low", "top")
    assert frozen.train.y[:4].tolist() == [1.0, 2.0, 0.0, 1.0]
    other = loaded(table(["low", "top", "mid", "low"] * 10), model(classes=["top", "mid", "low"]))
    assert other.version.id != frozen.version.id


def test_a_binary_model_may_name_its_classes(loaded: Load) -> None:
    frozen = loaded(table(["yes", "no"] * 20), model(task="binary", classes=["no", "yes"]))
    assert frozen.train.y[:2].tolist() == [1.0, 0.0]
    with pytest.raises(
        DefinitionError, match=r"declare them, the positive one last: Model\(\.\.\., classes=\['no', 'yes'\]"
    ):
        loaded(table(["yes", "no"] * 20), model(task="binary"))


@pytest.mark.parametrize(
    ("kinds", "changed", "words"),
    [
        (
            ["low", "tip", "top", "low"] * 10,
            {"classes": ["low", "top"]},
            "10 rows .* label 'tip', .* Did you mean 'top'",
        ),
        (["low"] * 40, {}, "labels of one class alone, 'low'"),
        (["low", "mid"] * 10 + ["top", "low"] * 10, {}, "the training part .* none of class 'top'; take more history"),
        (["low", "top"] * 10 + ["low"] * 20, {}, "the holdout .* none of class 'top'"),
        ([0.5, 1.0] * 20, {}, "column 'kind' has 0.5; labels of classes are texts or whole numbers"),
    ],
)
def test_labels_that_cannot_be_learned_are_explained(
    kinds: list[Any], changed: dict[str, Any], words: str, loaded: Load
) -> None:
    with pytest.raises((DataError, DefinitionError), match=words):
        loaded(table(kinds), model(**changed))


def test_a_class_without_a_row_in_the_holdout_is_a_warning(loaded: Load) -> None:
    frozen = loaded(table(["low", "mid", "top", "mid"] * 5 + ["low", "mid"] * 10), model())
    assert frozen.version.warnings == ("the holdout has no row of class 'top', so no gate judges the model on it",)


def test_weights_groups_and_further_columns_reach_the_trainer(loaded: Load) -> None:
    given = model(weight="w", group="g", extra=["price", "shop"])
    columns = {"w": np.arange(40) + 1, "g": ["n", "s"] * 20, "price": np.arange(40) * 2.0, "shop": ["a"] * 40}
    frozen = loaded(table(["a", "b"] * 20, **columns), given)
    both = frozen.train.followed_by(frozen.holdout)
    assert both.weight is not None
    assert both.group is not None
    assert both.weight.tolist() == [float(place + 1) for place in range(40)]
    assert both.group[:2].tolist() == ["n", "s"]
    some = both.take(np.array([3, 5]))
    assert some.extra["price"].tolist() == [6.0, 10.0]
    assert some.extra["shop"].tolist() == ["a", "a"]

    # another role of a column is another data set
    assert loaded(table(["a", "b"] * 20, **columns), model(extra=["w", "g", "price", "shop"])).version.id != (
        frozen.version.id
    )


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 39 + [None], "weight 'w' is None at 2026-01-02 15:00, and so are 1 of 40 rows"),
        ([-1.0] + [1.0] * 39, "weight 'w' is -1.0 at 2026-01-01 00:00"),
        ([0.0] * 40, "is 0 in all rows"),
        (["much"] * 40, "weight 'w' is String; expected numbers"),
    ],
)
def test_wrong_weights_are_named(weights: list[Any], words: str, loaded: Load) -> None:
    with pytest.raises(DataError, match=words):
        loaded(table(["a", "b"] * 20, w=weights), model(weight="w"))


def test_an_anomaly_model_takes_rows_without_labels(loaded: Load) -> None:
    frozen = loaded(table([None] * 30 + [1.0, 0.0] * 5), model(task="anomaly"))
    assert (frozen.version.rows, frozen.version.labelled, frozen.version.holdout_rows) == (40, 10, 20)
    assert np.isnan(frozen.train.y).all()
    without = loaded(table([None] * 40).drop("kind"), model(task="anomaly", label=None))
    assert (without.version.labelled, without.version.label_mean) == (0, 0.0)
    with pytest.raises(DataError, match=r"labels \[2\.0\]; expected 0 or 1"):
        loaded(table([2.0, 0.0] * 20), model(task="anomaly"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classes": ["a"]}, "has 1 of them; a multiclass model has two or more"),
        ({"classes": ["a", "b", "a"]}, "names 'a' twice"),
        ({"classes": "ab"}, "expected a list of texts or of whole numbers"),
        ({"classes": ["a", 1]}, "expected a list of texts or of whole numbers"),
        ({"task": "binary", "classes": ["a", "b", "c"]}, "a binary model has two"),
        ({"task": "regression", "classes": ["a", "b"]}, "whose task is regression has no classes"),
        ({"label": None}, "has no label; a multiclass model needs one"),
        (
            {
                "task": "anomaly",
                "label": None,
                "outcomes": tt.Outcomes(source=tt.FileSource("o", "o.csv", timestamp="t")),
            },
            "has no label, so the column of the outcome must be named",
        ),
        ({"extra": ["p", "p"]}, "extra: 'p' is there twice"),
    ],
)
def test_wrong_definitions_are_explained(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        model(**changed)
