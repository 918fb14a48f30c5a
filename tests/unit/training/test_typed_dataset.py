"""Frozen datasets with typed features: exact values, codes of the training part, and a hash that covers both."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import trimtab as tt
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.clock import ManualClock
from trimtab.definitions.models import Dataset, Model
from trimtab.errors import DataError, DefinitionError
from trimtab.features.training_frames import training_frame
from trimtab.records.training import DatasetVersion
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.dataset import freeze, load
from trimtab.training.trainer import fit

START = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS = tt.FileSource("orders", "orders.parquet", timestamp="at", known_at="paid_at")
FEATURES = ["shop", "note", "account", "price", "day", "seen_at", "member", "weight"]


def table(**changed: list[Any]) -> pl.DataFrame:
    """Twenty orders; the last five have a shop that no earlier one has."""
    rows = 20
    columns: dict[str, Any] = {
        "at": [START + timedelta(hours=n) for n in range(rows)],
        "paid_at": [START + timedelta(hours=n, minutes=1) for n in range(rows)],
        "late": [n % 2 for n in range(rows)],
        "shop": [None, *(f"s{n % 3}" for n in range(14)), *["new"] * 5],
        "note": [None, *(f"note {n} é" for n in range(19))],
        "account": [None, *(2**60 + n for n in range(19))],
        "price": [None, *(Decimal(n) / 4 for n in range(19))],
        "day": [None, *(date(2026, 1, 1 + n) for n in range(19))],
        "seen_at": [None, *(START + timedelta(microseconds=n) for n in range(19))],
        "member": [None, *(n % 2 == 0 for n in range(19))],
        "weight": [None, *(n / 3 for n in range(19))],
    }
    types = {"price": pl.Decimal(20, 2), "seen_at": pl.Datetime("us", "UTC")}
    return pl.DataFrame({**columns, **changed}, schema_overrides=types)


def model(features: list[Any] = FEATURES, **options: Any) -> Model:
    given = {"input": "frame", "types": {"note": "text"} if "note" in features else None, **options}
    return Model("late", "binary", ORDERS, "late", features, **given)


def frozen(folder: Path, given: Model, rows: pl.DataFrame | None = None) -> tuple[DatasetVersion, FolderArtifacts]:
    data = table() if rows is None else rows
    frame = training_frame(given, lambda _: data.lazy(), as_of=START + timedelta(days=9))
    artifacts = FolderArtifacts(folder)
    version = freeze(
        frame,
        model=given,
        tables={"orders": "orders@1"},
        as_of=START + timedelta(days=9),
        start=None,
        holdout_share=0.25,
        min_examples=2,
        artifacts=artifacts,
        clock=ManualClock(START),
    )
    return version, artifacts


def test_a_frozen_dataset_gives_back_the_exact_values(tmp_path: Path) -> None:
    version, artifacts = frozen(tmp_path, model())
    data = load(version, artifacts)

    assert version.feature_types == dict(
        zip(FEATURES[:7], ("category", "text", "integer", "decimal", "date", "timestamp", "boolean"), strict=True)
    )
    assert version.feature_categories == {"shop": ("s0", "s1", "s2")}
    X = np.concatenate([data.train.X, data.holdout.X])
    assert isinstance(X, TypedMatrix)
    frame, given = X.frame(), table()
    assert frame["account"].tolist()[1:] == given["account"].to_list()[1:]  # beyond 2^53, where floats are not exact
    assert frame["price"].tolist()[1:] == given["price"].to_list()[1:]
    assert frame["note"].tolist() == ["", *given["note"].to_list()[1:]]
    assert frame["day"].dt.date.tolist()[1:] == given["day"].to_list()[1:]
    assert [at.to_pydatetime().replace(tzinfo=UTC) for at in frame["seen_at"][1:]] == given["seen_at"].to_list()[1:]
    assert frame.drop(columns="note").iloc[0].isna().all()
    assert frame["shop"].tolist()[-5:] == ["(other)"] * 5
    assert np.asarray(X)[-1, 0] == 3.0
    assert X.exact[0][-1] == "new"


def test_the_trainer_gets_a_frame_or_a_matrix_of_codes(tmp_path: Path) -> None:
    class Constant:
        def predict(self, X: Any) -> Any:
            return np.zeros(len(X))

    got: list[Any] = []

    def trainer(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        got.append(data)
        return Constant()

    for form in ("frame", "matrix"):
        features = FEATURES if form == "frame" else ["shop", "account", "day"]
        given = model(features, input=form)
        given.trainer(trainer)
        version, artifacts = frozen(tmp_path, given)
        fit(given, load(version, artifacts).train, {}, 0)
    assert isinstance(got[0].X, pd.DataFrame)
    assert list(got[0].X) == FEATURES
    assert type(got[1].X) is np.ndarray
    assert got[1].X.dtype == np.float32
    assert got[1].X[1:4, 0].tolist() == [0.0, 1.0, 2.0]
    assert got[1].X[1, 2] == (date(2026, 1, 1) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    "changed",
    [
        {"account": [None, *(2**60 + n for n in range(18)), 2**60 + 19]},
        {"note": [None, *(f"note {n} é" for n in range(18)), "note 18 è"]},
        {"seen_at": [None, *(START + timedelta(microseconds=n) for n in range(18)), START]},
        {"shop": [None, *(f"s{n % 3}" for n in range(14)), *["new"] * 4, "newer"]},
        {"price": [None, *(Decimal(n) / 4 for n in range(18)), Decimal("4.51")]},
    ],
)
def test_the_hash_covers_each_exact_value(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert frozen(tmp_path, model())[0].id != frozen(tmp_path, model(), table(**changed))[0].id
    assert frozen(tmp_path, model())[0].id == frozen(tmp_path, model(), table().sample(fraction=1, shuffle=True))[0].id


def test_the_hash_covers_what_the_trainer_gets(tmp_path: Path) -> None:
    ids = {
        frozen(tmp_path, model(["shop"], input=form, unseen=unseen))[0].id
        for form in ("frame", "matrix")
        for unseen in ("other", "missing")
    }
    assert len(ids) == 4


def test_unseen_categories_are_missing_where_the_model_says_so(tmp_path: Path) -> None:
    version, artifacts = frozen(tmp_path, model(["shop", "weight"], unseen="missing"))
    holdout = load(version, artifacts).holdout.X
    assert np.isnan(holdout[:, 0]).all()
    assert isinstance(holdout, TypedMatrix)
    assert holdout.exact[0].tolist() == ["new"] * 5


def test_whole_numbers_can_be_names(tmp_path: Path) -> None:
    version, artifacts = frozen(tmp_path, model(["account"], types={"account": "category"}))
    assert version.feature_categories["account"][0] == str(2**60)
    assert load(version, artifacts).train.X[1, 0] == 0.0


def test_a_transform_gives_text_and_exact_numbers(tmp_path: Path) -> None:
    @tt.on_demand(inputs=["note", "account"], outputs=["first", "last_digit"])
    def parts(note: Any, account: Any) -> Any:
        words = np.array([None if text is None else text.split()[0] + text[-1] for text in note], dtype=object)
        return {"first": words, "last_digit": account % 10}

    version, _ = frozen(tmp_path, model([parts], types={"parts__last_digit": "integer"}))
    assert version.feature_types == {"parts__first": "category", "parts__last_digit": "integer"}
    assert version.feature_categories == {"parts__first": ("noteé",)}


def test_what_a_type_cannot_hold_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        DefinitionError, match=r"feature 'weight' is declared as integer, but its values are of kind number"
    ):
        frozen(tmp_path, model(["weight"], types={"weight": "integer"}))
    with pytest.raises(
        DefinitionError, match=r"types names 'wieght', which is none of its features. Did you mean 'weight'"
    ):
        model(["weight"], types={"wieght": "integer"})
    with pytest.raises(DefinitionError, match=r"a matrix cannot hold the text 'note'; use Model\(..., input='frame'\)"):
        model(["note"], input="matrix")
    with pytest.raises(DefinitionError, match=r"most of its texts read like numbers, such as '1,5'.*decimal=','"):
        frozen(tmp_path, model(["shop"]), table(shop=["1,5", "2,5"] * 10))
    with pytest.raises(DefinitionError, match=r"input is 'frames'; expected 'matrix' or 'frame'. Did you mean 'frame'"):
        model(["shop"], input="frames")
    with pytest.raises(DataError, match=r"feature 'shop' has the category '\(other\)', which stands for unseen ones"):
        frozen(tmp_path, model(["shop"]), table(shop=["(other)"] * 20))
