"""Features that change with rows of the future, which the tests for leaks must find."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kit.contract_projects import make_loans
from trimtab.app.delivery import leak_tests
from trimtab.app.delivery.leak_tests import check_model, check_view
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages.sampled_sources import take_sample
from trimtab.errors import CheckFailed
from trimtab.features import training_frames
from trimtab.features.point_in_time import view_values

START = datetime(2026, 1, 10, tzinfo=UTC)
ViewValues = Callable[..., pl.DataFrame]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The project with all rows in its tables, read without the checks of the policy."""
    folder = make_loans(tmp_path / "project")
    (folder / "trimtab.yaml").write_text("project: loans\n")
    found = open_workspace(folder)
    sources = found.project.definitions.sources
    loans = pl.read_parquet(folder / "loans" / "*.parquet")
    rates = pl.read_csv(folder / "rates.csv", try_parse_dates=True)
    for name, frame in (("loans", loans), ("rates", rates)):
        take_sample(found, sources[name], frame, "all")
    return found


def keys(workspace: Workspace) -> pl.DataFrame:
    return workspace.tables.scan("loans").select("branch", "asked_at").collect()


def knows_all_rows(real: ViewValues) -> ViewValues:
    """Return a computation whose first feature knows how many rows the table has."""

    def leaking(view: Any, rows: Any, asked: Any, at: Any) -> pl.DataFrame:
        frame = real(view, rows, asked, at)
        first = frame.columns[0]
        return frame.with_columns(pl.col(first).fill_null(0.0) + rows.lazy().collect().height)

    return leaking


def test_point_in_time_features_do_not_change(workspace: Workspace) -> None:
    definitions = workspace.project.definitions
    for view in definitions.views.values():
        assert "features of" in check_view(workspace, view, keys(workspace), "asked_at").replace(
            "feature ", "features "
        )
    for model in definitions.models.values():
        assert check_model(workspace, model, start=START).startswith("4 features of")


def test_a_view_that_knows_later_rows_is_found(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    view = workspace.project.definitions.views["past"]
    monkeypatch.setattr(leak_tests, "view_values", knows_all_rows(view_values))
    with pytest.raises(CheckFailed, match=r"FeatureView 'past': feature 'past__bad_mean_10d' of 2026-.* without them"):
        check_view(workspace, view, keys(workspace), "asked_at")


def test_a_model_whose_feature_knows_later_rows_is_found(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_frames, "view_values", knows_all_rows(view_values))
    with pytest.raises(CheckFailed, match="Model 'loss': feature 'past__bad_mean_10d'"):
        check_model(workspace, workspace.model("loss"), start=START)


def test_rounding_is_no_leak(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(view: Any, rows: Any, asked: Any, at: Any) -> pl.DataFrame:
        noise = 1 + 1e-10 * np.float64(rows.lazy().collect().height)
        return view_values(view, rows, asked, at).with_columns(pl.all() * noise)

    monkeypatch.setattr(leak_tests, "view_values", rounded)
    check_view(workspace, workspace.project.definitions.views["past"], keys(workspace), "asked_at")
