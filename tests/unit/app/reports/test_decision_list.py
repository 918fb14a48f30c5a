"""The list of decisions: what became of each, which ones match, and how often each cell of the matrix was met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import DecisionFilter, count_cells, list_decisions
from trimtab.cli import decisions
from trimtab.control.resolve import resolve
from trimtab.errors import DefinitionError, UsageError
from trimtab.records.control import Decision, WorkflowStep
from trimtab.testing.judged import DAY, FIRST


@pytest.fixture
def project(tmp_path: Path) -> Iterator[GatewayProject]:
    opened = GatewayProject(tmp_path / "project")
    yield opened
    opened.workspace.metadata.close()


@pytest.fixture
def workspace(project: GatewayProject) -> Workspace:
    return project.workspace


def note(workspace: Workspace, decision: Decision, *steps: str, refers_to: str | None = None) -> None:
    for step in steps:
        workspace.metadata.put(
            WorkflowStep(
                id=f"retrain/{decision.id}/{step}",
                created_at=FIRST,
                workflow=f"retrain/{decision.id}",
                model=decision.model,
                decision=decision.id,
                step=step,
                outcome=f"text of {step}",
                refers_to=refers_to,
            )
        )


def states(workspace: Workspace, wanted: DecisionFilter | None = None) -> list[tuple[int, str, str]]:
    found = list_decisions(workspace, wanted or DecisionFilter(), limit=None)
    return [(one.decision.number, one.state, one.became) for one in found]


def test_a_retraining_is_followed_from_its_decision_to_its_end(workspace: Workspace) -> None:
    for day, steps in enumerate([(), ("snapshot",), ("snapshot", "stop"), ("challenge", "compare", "promote")]):
        note(workspace, decide(workspace, "retrain", start=FIRST + day * DAY), *steps)
    assert states(workspace) == [
        (4, "promoted", "text of compare; text of promote"),
        (3, "stopped", "text of stop"),
        (2, "running", "snapshot: text of snapshot"),
        (1, "not started", "its retraining has not begun"),
    ]


def test_what_its_own_workflow_took_out_is_abandoned_and_what_others_took_out_is_replaced(
    project: GatewayProject,
) -> None:
    workspace = project.workspace
    first, second = (decide(workspace, "retrain", start=FIRST + day * DAY) for day in range(2))
    project.rollouts.deploy(project.bundle(1), cause="test", reason="test", by="tester")
    by_person = project.rollouts.deploy(project.bundle(2), cause="person", reason="test", by="tester")
    own = project.rollouts.deploy(project.bundle(3), cause=f"retrain/{first.id}/abandon", reason="t", by="trimtab")
    note(workspace, first, "abandon", refers_to=own.id)
    note(workspace, second, "abandon", refers_to=by_person.id)
    assert [state for _, state, _ in states(workspace)] == ["replaced", "abandoned"]


def test_an_answer_of_a_person_stands_with_its_reason(workspace: Workspace) -> None:
    rejected, approved, opened = (decide(workspace, start=FIRST + day * DAY) for day in range(3))
    resolve(workspace.metadata, rejected.id, "reject", "it is the season", "ann", workspace.clock)
    resolve(workspace.metadata, approved.id, "approve", "yes", "ben", workspace.clock)
    note(workspace, approved, "approval", "snapshot")
    assert states(workspace) == [
        (opened.number, "open", "waits for an answer"),
        (approved.number, "running", "approve by ben: yes; snapshot: text of snapshot"),
        (rejected.number, "rejected", "reject by ann: it is the season"),
    ]


def test_times_and_actions_choose_windows_that_overlap(workspace: Workspace) -> None:
    for day in range(4):
        decide(workspace, "retrain" if day % 2 else "review", start=FIRST + day * DAY)
    noon = timedelta(hours=12)
    chosen = DecisionFilter(since=FIRST + DAY + noon, until=FIRST + 2 * DAY + noon)
    assert [number for number, *_ in states(workspace, chosen)] == [3, 2]
    assert [number for number, *_ in states(workspace, DecisionFilter(since=FIRST + DAY, until=FIRST + 2 * DAY))] == [2]
    assert [number for number, *_ in states(workspace, DecisionFilter(action="review"))] == [3, 1]
    assert states(workspace, DecisionFilter(trigger="routine")) == []


def test_every_cell_of_the_matrix_is_counted_also_an_empty_one(workspace: Workspace) -> None:
    for day in range(3):
        decide(workspace, "retrain" if day else "review", start=FIRST + day * DAY)
    counts = count_cells(workspace, DecisionFilter())
    cells = counts.cells
    assert len(cells) == 9
    (met,) = [cell for cell in cells if cell.windows]
    assert (met.band, met.impact, met.says, met.windows) == ("severe", "high", "retrain", 3)
    assert met.actions == {"retrain": 2, "review": 1}
    assert counts.note == "3 windows in the cells"
    decide(workspace, "retrain", start=FIRST + 3 * DAY, trigger="routine")
    assert count_cells(workspace, DecisionFilter()).note == (
        "3 windows in the cells; decided otherwise: 1 by the refresh"
    )


def test_the_verb_lists_filters_and_counts(workspace: Workspace) -> None:
    decide(workspace, start=FIRST)
    decide(workspace, "retrain", start=FIRST + DAY)

    def trimtab(*arguments: str) -> str:
        command = ["decisions", *arguments, "--project", str(workspace.project.folder)]
        return CliRunner().invoke(decisions.app, command, catch_exceptions=False).stdout

    assert "2 windows in the cells" in trimtab("--matrix")
    listed = trimtab("delay", "--action", "review")
    assert "version 1  by the matrix" in listed
    assert "delay/decision/1" in listed
    assert "waits for an answer" in listed
    assert "delay/decision/2" not in listed
    assert [one["decision"]["number"] for one in json.loads(trimtab("--limit", "1", "--json"))] == [2]
    assert "no decision matches" in trimtab("--trigger", "routine")
    assert sum(cell["windows"] for cell in json.loads(trimtab("--matrix", "--json"))) == 2
    decide(workspace, "monitor", start=FIRST + 2 * DAY, held_by="cooldown", held_until=FIRST + 4 * DAY)
    listed = trimtab("--held-by", "cooldown")
    assert f"held back by cooldown until {FIRST + 4 * DAY:%Y-%m-%d %H:%M}" in listed
    assert "delay/decision/2" not in listed
    with pytest.raises(UsageError, match=r"--action: 'retrian' is not known. Did you mean 'retrain'\?"):
        trimtab("--action", "retrian")
    with pytest.raises(DefinitionError, match="delai"):
        trimtab("delai")
