"""What serving has cost: the same sum, whether a kept one is used, lost, or of other records."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from e2e.small_project import write_project
from trimtab.app.overviews.cost.cost_overview import cost_overview
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports import status as status_module
from trimtab.app.reports.status import SERVED, ServingCost, status
from trimtab.testing.judged import run_record, window_report


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(status_module, "KEPT_AFTER", 3)
    return open_workspace(write_project(tmp_path / "project"))


def close(workspace: Workspace, *days: int) -> None:
    for day in days:
        window = window_report(day, stage="closed", metrics={"cost": 0.5})
        workspace.metadata.put(
            msgspec.structs.replace(window, model="m", id=f"m/{day}/closed", rows=300, served_rows=100)
        )


def cost(workspace: Workspace) -> tuple[float, float | None]:
    money = status(workspace)["models"]["m"]["money"]
    return money["serving"], money["serving_per_million"]


def test_the_sum_goes_on_from_the_one_that_was_kept(workspace: Workspace) -> None:
    close(workspace, 0, 1, 2, 3)
    assert cost(workspace) == (2.0, 5000.0)
    kept = workspace.run_folder / SERVED.format(model="m")
    assert msgspec.json.decode(kept.read_bytes(), type=ServingCost) == ServingCost(
        last="m/3/closed", answers=400, cost=2.0
    )
    close(workspace, 4)
    assert cost(workspace) == (2.5, 5000.0)


@pytest.mark.parametrize(
    "content", [b"", b"{}", msgspec.json.encode(ServingCost(last="m/99/closed", answers=9, cost=9.0))]
)
def test_a_kept_sum_that_does_not_fit_is_left(workspace: Workspace, content: bytes) -> None:
    close(workspace, 0, 1)
    (workspace.run_folder / SERVED.format(model="m")).write_bytes(content)
    assert cost(workspace) == (1.0, 5000.0)


def test_cost_of_answers_is_that_of_the_page(workspace: Workspace) -> None:
    close(workspace, 0, 1)
    (of_page,) = cost_overview(workspace).models
    assert cost(workspace) == (of_page.serving, of_page.per_million) == (1.0, 5000.0)


def test_nothing_was_served_yet(workspace: Workspace) -> None:
    assert cost(workspace) == (0.0, None)


def test_training_has_cost_what_its_runs_have(workspace: Workspace) -> None:
    workspace.metadata.put(run_record(1, model="m", cost=0.25), run_record(2, model="m", cost=1.5))
    workspace.metadata.put(run_record(3, model="another", cost=9.0))
    again = msgspec.structs.replace(run_record(4, model="m", cost=0.25), refit_of=run_record(1).id)
    workspace.metadata.put(again)
    money = status(workspace)["models"]["m"]["money"]
    assert (money["training"], money["runs"], money["trainings"]) == (2.0, 3, 2), "the fit on all rows is no training"
    assert money["currency"] == workspace.project.policy.impact.currency
