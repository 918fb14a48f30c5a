"""`trimtab up` is killed at each step of the retraining workflow; the next one finishes it, once."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from e2e.kit import WINDOW, Up, edit_policy
from kit.commands import typed
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.project.workspace import open_workspace
from trimtab.bundle.manifest import verify
from trimtab.records.control import WorkflowStep
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import Metadata

STEPS = ("nothing", "snapshot", "train", "gates", "register", "challenge")
"""The kill comes right after this step was noted, so in the middle of the one behind it."""


def steps_of(metadata: Metadata, workflow: str) -> list[str]:
    return [s.step for s in metadata.find(WorkflowStep, workflow=workflow, oldest_first=True)]


def noted(metadata: Metadata, workflow: str, step: str) -> bool:
    return step in steps_of(metadata, workflow)


def test_a_workflow_that_is_killed_at_each_step_finishes_once(project: Path, up: Up) -> None:
    # given a weak champion, two weeks of its traffic, and a decision to retrain
    edit_policy(
        project,
        rollout={"promote_when": {"metric": "log_loss", "min_labels": 100, "min_windows": 2, "max_windows": 4}},
    )
    workspace = open_workspace(project)
    decision = decide(workspace, "retrain", start=WINDOW)
    workflow = workflow_id(decision.id)
    metadata = workspace.metadata
    # when the loop is killed after each step, and started again
    for step in STEPS:
        up.start()
        if step != "nothing":
            wait_for(partial(noted, metadata, workflow, step), f"step {step}")
        up.kill()
    up.start()
    # then the challenger is deployed, compared on new traffic, and promoted or abandoned
    typed("replay", "-p", project, "--from", "2013-03-13", "--to", "2013-03-22")
    ends = {"promote", "abandon"}
    wait_for(lambda: ends & set(steps_of(metadata, workflow)), "promote or abandon")
    assert up.interrupt() == 0
    # and everything happened once
    assert max(Counter(steps_of(metadata, workflow)).values()) == 1
    runs = metadata.find(Run)
    assert len([r for r in runs if r.refit_of is None]) == len([r for r in runs if r.refit_of]) == 2
    assert len(metadata.find(Bundle)) == 2
    assert [r.number for r in metadata.find(Revision, oldest_first=True)] == [1, 2, 3]
    newest = metadata.find(Revision)[0]
    assert [a.role for a in newest.assignments] == ["champion"]
    # and nothing is half-written
    for bundle in metadata.find(Bundle):
        assert verify(workspace.artifacts.open(bundle.path), bundle.digest) == bundle.digest
