"""A stretch of time of the sources in place of all their rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from kit.commands import typed
from kit.contract_projects import change, make_loans
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting
from trimtab.app.stages.pipeline import snapshot
from trimtab.app.stages.sampled_sources import ingest_last, needs
from trimtab.errors import UsageError
from trimtab.training.dataset import load
from trimtab.units import micros


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = make_loans(tmp_path / "project")
    (folder / "trimtab.yaml").write_text("project: loans\n")
    return open_workspace(folder)


def span(workspace: Workspace, table: str, column: str) -> timedelta:
    at = workspace.tables.scan(table).select(column).collect()[column]
    found = at.max() - at.min()  # type: ignore[operator]  # of a column of times
    assert isinstance(found, timedelta)
    return found


def test_each_source_goes_back_as_far_as_its_windows(workspace: Workspace) -> None:
    ingest_last(workspace, micros("2d"))
    assert span(workspace, "loans", "asked_at") == timedelta(days=12), "2 days, and a window of 10"
    assert span(workspace, "rates", "at") == timedelta(days=1), (
        "from 5 days before the newest loan, and it ends earlier"
    )


def test_a_source_that_is_read_without_end_is_taken_whole(workspace: Workspace) -> None:
    folder = workspace.project.folder
    change(folder, 'tt.mean("rate", "3d")', 'tt.last("rate")')
    workspace = open_workspace(folder)
    assert needs(workspace)["rates"].whole
    ingest_last(workspace, micros("2d"))
    assert workspace.tables.scan("rates").select(pl.len()).collect().item() == 62


def test_a_sample_and_other_rows_do_not_mix(workspace: Workspace) -> None:
    first = ingest_last(workspace, micros("2d"))
    again = ingest_last(workspace, micros("2d"))
    assert [each.skipped for each in again] == [f"already in {each.version.id}" for each in first]
    with pytest.raises(UsageError, match="table 'loans' has rows already"):
        ingest_last(workspace, micros("3d"))
    with pytest.raises(UsageError, match=r"table 'loans' holds a sample \(from 2026-"):
        ingesting.ingest(workspace)
    with pytest.raises(UsageError, match="holds a sample"):
        ingesting.rebuild(workspace, "loans")


def test_rows_that_are_there_keep_a_sample_out(workspace: Workspace) -> None:
    ingesting.ingest(workspace)
    with pytest.raises(UsageError, match="table 'loans' has rows already, and a sample goes into empty tables"):
        ingest_last(workspace, micros("2d"))


def test_the_verb_says_what_it_took_and_what_is_wrong(workspace: Workspace) -> None:
    folder = workspace.project.folder
    done = typed("ingest", "-p", folder, "--last", "2d")
    assert "ingest    loans: 145 rows from 1 batch" in done.stdout
    assert "'2 weeks' is" in typed("ingest", "-p", folder, "--last", "2 weeks", check=False).stderr
    assert typed("ingest", "loans", "-p", folder, "--last", "2d", "--rebuild", check=False).returncode == 2


def test_a_training_begins_with_the_stretch_where_windows_need_rows_before_it(workspace: Workspace) -> None:
    """Other sources have no rows for the examples before it, so their features would be null."""
    change(workspace.project.folder, 'tt.mean("rate", "3d")', 'tt.last("rate")')
    (workspace.project.folder / "trimtab.yaml").write_text("project: loans\ntraining: { min_examples: 10 }\n")
    workspace = open_workspace(workspace.project.folder)
    ingest_last(workspace, micros("2d"))
    newest = workspace.tables.scan("loans").select(pl.col("asked_at").max()).collect().item()
    dataset = snapshot(workspace, "loss", as_of=newest + timedelta(days=60))
    rows = load(dataset, workspace.artifacts).frame
    assert dataset.start == (newest - timedelta(days=2)).replace(second=0, microsecond=0)
    assert rows.filter(pl.col("timestamp") < dataset.start).is_empty()
    assert 0 < rows.height < workspace.tables.scan("loans").select(pl.len()).collect().item()
