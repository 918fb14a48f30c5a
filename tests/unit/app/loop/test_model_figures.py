"""The figures of the loop are those of the newest matured window, and are read anew when a record was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kit.alert_project import open_alert_project
from kit.decisions import decide
from trimtab.app.loop.model_figures import FiguresReader, model_figures
from trimtab.app.project.workspace import Workspace
from trimtab.control.resolve import resolve
from trimtab.records.loop_pulse import ModelFigures
from trimtab.testing.judged import DAY, FIRST, MODEL, champion_revision, judged_signals, window_report


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    found, _ = open_alert_project(tmp_path / "project", "ops: { url: 'json://localhost' }")
    yield found
    found.metadata.close()


def test_a_model_without_windows_has_counts_alone(workspace: Workspace) -> None:
    nothing = {"monitor": 0, "review": 0, "retrain": 0, "rollback": 0}
    assert model_figures(workspace, MODEL) == ModelFigures(model=MODEL, decisions=nothing)


def test_figures_are_those_of_the_champions_newest_matured_window(workspace: Workspace) -> None:
    old = window_report(0, metrics={"log_loss": 0.9})
    new = window_report(1, metrics={"log_loss": 0.42, "roc_auc": 0.8, "money_lost": 420.0}, labelled=850)
    others = (window_report(2, stage="closed"), window_report(2, version=2, role="challenger"))
    workspace.metadata.put(old, new, *others, *judged_signals(new, data_p_seq=0.004), champion_revision(3, 1))
    decide(workspace, "retrain", start=FIRST)
    review = decide(workspace, start=FIRST + DAY)
    found = model_figures(workspace, MODEL)
    assert found == ModelFigures(
        model=MODEL,
        revision=3,
        window_end=new.end.timestamp(),
        label_coverage=0.85,
        losses={"log_loss": 0.42},
        money_lost=420.0,
        impact_per_day=2000.0,
        p_seq={"data": 0.004, "concept": 1.0},
        decisions={"monitor": 0, "review": 1, "retrain": 1, "rollback": 0},
        open_reviews=1,
    )
    resolve(workspace.metadata, review.id, "reject", reason="not now", by="ann", clock=workspace.clock)
    assert model_figures(workspace, MODEL) == msgspec.structs.replace(found, open_reviews=0)


def test_figures_are_read_anew_when_a_record_was_written(workspace: Workspace) -> None:
    read = FiguresReader(workspace)
    first = read()
    assert read() is first
    decide(workspace, start=FIRST)
    assert read()[0].open_reviews == 1
