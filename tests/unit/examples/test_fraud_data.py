"""The simulated payments of the fraud example: a seed decides them, and each scheme and scenario leaves its trace."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType

import polars as pl
import pytest

from trimtab.app.project import templates

SCENARIO = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    """The program, with so few customers that it takes a second."""
    path = templates.IN_REPOSITORY / "fraud" / "prepare.py"
    spec = importlib.util.spec_from_file_location("fraud_prepare", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    vars(module).update(CUSTOMERS=150, TERMINALS=300)
    return module


@pytest.fixture(scope="module")
def usual(prepare: ModuleType) -> pl.DataFrame:
    found: pl.DataFrame = prepare.simulate("none")
    return found


def test_a_seed_decides_every_row(prepare: ModuleType, usual: pl.DataFrame) -> None:
    assert prepare.simulate("none").equals(usual)
    assert not prepare.simulate("none", seed=prepare.SEED + 1).equals(usual)
    assert usual["authorised_at"].is_sorted()
    assert usual["transaction"].n_unique() == usual.height


def test_each_scheme_leaves_its_trace(usual: pl.DataFrame) -> None:
    def median(column: str, scheme: str) -> float:
        return float(usual.filter(pl.col("scheme") == scheme)[column].median())  # type: ignore[arg-type]  # of numbers

    assert set(usual["scheme"]) == {"", "skimming", "stolen", "testing"}
    assert median("distance_km", "stolen") > 4 * median("distance_km", "")
    assert median("amount", "testing") < 2.0
    assert median("amount", "skimming") > 1.3 * median("amount", "")
    assert usual.filter(pl.col("scheme") == "skimming")["new_device"].sum() == 0
    assert usual.filter(pl.col("scheme") == "")["new_device"].mean() == pytest.approx(0.04, abs=0.01)


def test_a_payment_is_known_a_moment_later_and_a_fraud_weeks_later(prepare: ModuleType, usual: pl.DataFrame) -> None:
    posted = usual["posted_at"] - usual["authorised_at"]
    assert posted.min() >= timedelta(milliseconds=200)  # type: ignore[operator]  # of durations
    assert posted.max() < timedelta(seconds=2)  # type: ignore[operator]
    assert usual.filter(pl.col("scheme") == "")["reported_at"].null_count() == (usual["scheme"] == "").sum()
    final = prepare.outcomes(usual)
    corrected = final.filter(pl.col("transaction").is_duplicated()).sort("transaction", "settled_at")
    assert corrected["fraud"].to_list() == [0.0, 1.0] * (corrected.height // 2)
    assert corrected.height > 0
    first = final.unique("transaction", keep="first", maintain_order=True)
    assert set(first["settled_at"] - first["authorised_at"]) == {timedelta(days=prepare.DISPUTE_DAYS)}
    assert final.group_by("transaction").agg(pl.col("fraud").max())["fraud"].sum() == (usual["scheme"] != "").sum()


@pytest.mark.parametrize("scenario", ["takeover", "cents", "holidays"])
def test_a_scenario_changes_what_comes_after_its_day_alone(
    prepare: ModuleType, usual: pl.DataFrame, scenario: str
) -> None:
    found = prepare.simulate(scenario)
    shown = ("authorised_at", "card", "terminal", "amount", "distance_km", "new_device", "scheme")
    before = [each.filter(pl.col("authorised_at") < SCENARIO).select(shown) for each in (usual, found)]
    after = [each.filter(pl.col("authorised_at") >= SCENARIO) for each in (usual, found)]
    if scenario != "holidays":  # it draws who travels for all days
        assert before[0].equals(before[1])
    traces = {
        "takeover": lambda rows: (rows["scheme"] == "takeover").sum(),
        "cents": lambda rows: (rows["amount"] > 1_000).mean(),
        "holidays": lambda rows: rows.filter(pl.col("scheme") == "")["distance_km"].mean(),
    }
    assert traces[scenario](after[1]) > 2 * traces[scenario](after[0])
