"""Which features are categories: as declared, else by their type and their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import trimtab as tt
from trimtab.definitions.on_demand import OnDemand
from trimtab.training.columns.category_features import category_features

FLIGHTS = tt.FileSource("flights", "flights.parquet", timestamp="at", known_at="landed_at")
KINDS = {
    "carrier": "text",
    "at": "time",
    "stops": "integer",
    "distance": "integer",
    "direct": "boolean",
    "fuel": "number",
}


@tt.on_demand(inputs=["carrier"])
def airline(carrier: Any) -> Any:
    return np.array([len(name) for name in carrier], dtype=np.float64)


@tt.on_demand(inputs=["carrier", "at"], outputs=["slot"])
def mixed(carrier: Any, at: Any) -> Any:
    return {"slot": np.zeros(len(carrier))}


FEATURES: Sequence[tt.FeatureView | OnDemand | str] = [airline, mixed, "stops", "distance", "direct", "fuel"]


def rows(n: int = 1_000) -> np.ndarray[Any, Any]:
    code, two = np.arange(n) % 16, np.arange(n) % 2
    return np.column_stack([code, two, np.arange(n) % 3, np.arange(n) % 40, two, two]).astype(np.float32)


def model(**given: Any) -> tt.Model:
    return tt.Model("delay", task="binary", examples=FLIGHTS, label="late", features=FEATURES, **given)


def test_booleans_few_whole_numbers_and_codes_of_texts_are_categories() -> None:
    assert category_features(model(), rows(), KINDS) == ("airline", "stops", "direct")


def test_missing_values_do_not_matter_and_fractions_do() -> None:
    X = rows()
    X[::7, 2] = np.nan
    X[0, 0] = 0.5
    assert category_features(model(), X, KINDS) == ("stops", "direct")


def test_a_column_without_values_or_with_too_few_rows_a_code_is_none() -> None:
    X = rows(19)
    X[:, 4] = np.nan
    assert category_features(model(), X, KINDS) == ()


def test_the_most_values_of_a_request_column_are_31() -> None:
    X = rows(10_000)
    X[:, 2] = np.arange(10_000) % 31
    assert "stops" in category_features(model(), X, KINDS)
    X[:, 2] = np.arange(10_000) % 32
    assert "stops" not in category_features(model(), X, KINDS)


def test_what_the_model_declares_is_taken_as_it_is() -> None:
    assert category_features(model(categories=["fuel", "mixed__slot"]), rows(), KINDS) == ("mixed__slot", "fuel")
    assert category_features(model(categories=[]), rows(), KINDS) == ()
