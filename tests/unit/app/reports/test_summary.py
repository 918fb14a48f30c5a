"""What became of each trained model, in the words that the table at the end of a replay shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.summary import Summary, summarise
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.records.control import WorkflowStep
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle
from trimtab.testing.judged import FIRST, bundle_record, dataset_record, gate_report, run_record, window_report
from trimtab.testing.predictions import label_rows, prediction_rows


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = GatewayProject(tmp_path / "project", rollout={"split": {"champion": 90, "challenger": 10}}).workspace
    opened.metadata.put(dataset_record())
    yield opened
    opened.metadata.close()


def train(workspace: Workspace, *versions: int) -> None:
    """Write what is left of trainings whose runs passed the gates."""
    for version in versions:
        workspace.metadata.put(run_record(version, cost=0.5), gate_report(version))
        workspace.metadata.put(bundle_record(version))


def rollouts(workspace: Workspace) -> Rollouts:
    """Return what changes what serves; these bundles have no files to look into."""
    return Rollouts(workspace.metadata, workspace.project.policy.rollout, "delay", workspace.clock)


def deploy(workspace: Workspace, version: int) -> None:
    rollouts(workspace).deploy(bundle_record(version), cause=f"deploy {version}", reason="a test", by="tests")


def end(workspace: Workspace, version: int, action: str, evidence: str) -> None:
    """End a trial as a workflow of its own does: its steps are noted, then what serves is changed."""
    workflow = f"retrain/{version}"
    for step, outcome, refers_to in (
        ("register", f"version {version}", f"delay/{version}"),
        ("compare", evidence, None),
    ):
        note: dict[str, Any] = {
            "model": "delay",
            "decision": None,
            "step": step,
            "outcome": outcome,
            "refers_to": refers_to,
        }
        workspace.metadata.put(WorkflowStep(id=f"{workflow}/{step}", created_at=FIRST, workflow=workflow, **note))
    change = getattr(rollouts(workspace), action)
    change(cause=f"{workflow}/{action}", reason=evidence, by="trimtab")


def fates(found: Summary) -> list[tuple[int | None, str]]:
    return [(each.version, each.fate) for each in found.versions]


def test_the_first_champion_is_champion_and_the_next_one_challenges(workspace: Workspace) -> None:
    train(workspace, 1, 2)
    deploy(workspace, 1)
    deploy(workspace, 2)
    assert fates(summarise(workspace, "delay")) == [(1, "champion"), (2, "still challenging")]


def test_each_version_has_the_evidence_of_its_own_trial(workspace: Workspace) -> None:
    # given two challengers that lost, one that won, and a run that no bundle was made of
    train(workspace, 1, 2, 3, 4)
    deploy(workspace, 1)
    deploy(workspace, 2)
    end(workspace, 2, "abandon", "gain in log_loss -0.05")
    deploy(workspace, 3)
    end(workspace, 3, "abandon", "no gain in 60 windows")
    deploy(workspace, 4)
    end(workspace, 4, "promote", "gain in log_loss 0.04")
    workspace.metadata.put(run_record(5), gate_report(5, verdict="fail"))
    # then the words are those of each
    found = summarise(workspace, "delay")
    assert fates(found) == [
        (1, "replaced as champion"),
        (2, "abandoned: gain in log_loss -0.05"),
        (3, "abandoned: no gain in 60 windows"),
        (4, "champion: gain in log_loss 0.04"),
        (None, "refused by a gate"),
    ]
    assert [each.gates for each in found.versions] == ["pass", "pass", "pass", "pass", "fail"]
    assert {each.as_of for each in found.versions} == {FIRST}


def test_a_shadow_and_a_bundle_that_was_never_deployed_were_not_abandoned(workspace: Workspace) -> None:
    train(workspace, 1, 2, 3)
    deploy(workspace, 1)
    rollouts(workspace).deploy(bundle_record(2), cause="d", reason="a test", by="tests", role="shadow")
    assert fates(summarise(workspace, "delay")) == [
        (1, "champion"),
        (2, "still scoring as shadow"),
        (3, "not deployed"),
    ]


def test_a_champion_that_was_restored_is_champion(workspace: Workspace) -> None:
    train(workspace, 1, 2)
    deploy(workspace, 1)
    deploy(workspace, 2)
    end(workspace, 2, "promote", "gain in log_loss 0.04")
    rollouts(workspace).rollback(cause="r", reason="worse", by="tests")
    assert fates(summarise(workspace, "delay")) == [(1, "champion"), (2, "replaced as champion")]


def test_money_is_that_of_the_model_and_each_window_counts_once(workspace: Workspace) -> None:
    train(workspace, 1, 2)
    workspace.metadata.put(run_record(7, model="another", cost=9.0))
    closed: dict[str, Any] = {"stage": "closed", "metrics": {"cost": 0.25}}
    workspace.metadata.put(*(window_report(day, **closed) for day in range(3)))
    workspace.metadata.put(*(window_report(day, metrics={"cost": 0.25}) for day in range(3)))
    found = summarise(workspace, "delay")
    assert (found.training_cost, found.serving_cost, found.windows) == (1.0, 0.75, 3)


def test_what_was_scored_for_comparison_is_not_counted_as_served(workspace: Workspace) -> None:
    ids, roles = ["flights-1", "flights-1", "by-hand"], ["champion", "challenger", "champion"]
    workspace.predictions.append(prediction_rows(ids, role=roles, served=[True, False, True]))
    found = summarise(workspace, "delay")
    assert (found.predictions, found.scored_for_comparison, found.others.predictions) == (2, 1, 1)


def test_each_row_is_judged_by_the_threshold_of_the_version_that_answered(tmp_path: Path) -> None:
    # given a second champion that decides alike on scores of half the size
    costs = {"cost": {"false_negative": 100, "false_positive": 1}}
    workspace = GatewayProject(tmp_path / "project", impact=costs).workspace
    scored = {1: [0.1, 0.8], 2: [0.05, 0.4]}
    for number, threshold in ((1, 0.5), (2, 0.25)):
        workspace.metadata.put(dataset_record())
        spec = plain_spec("delay", ["row"], threshold=threshold, dataset=dataset_record().id)
        put: dict[str, Any] = {"version": number, "created_at": workspace.now()}
        bundle = register_bundle(workspace.metadata, workspace.artifacts, lookup_graph(scored[number]), spec, **put)
        rollouts(workspace).deploy(bundle, cause=f"deploy {number}", reason="a test", by="tests")
    ids = [f"flights-{n}" for n in range(40)]
    row = [n % 2 for n in range(40)]
    version = [1 + n // 20 for n in range(40)]
    score = [scored[v][r] for v, r in zip(version, row, strict=True)]
    y = [float(n % 2 == 1) for n in range(40)]
    features = [[float(r)] for r in row]
    workspace.predictions.append(prediction_rows(ids, version=version, score=score, features=features))
    workspace.predictions.append_labels(label_rows(ids, label=y))
    workspace.predictions.sync()
    # then neither made a mistake
    found = summarise(workspace, "delay").comparison
    assert found is not None
    assert found.rows == 40
    assert (found.loop_money_lost, found.frozen_money_lost) == (0.0, 0.0)
    assert (found.loop["accuracy"], found.frozen["accuracy"]) == (1.0, 1.0)
    workspace.metadata.close()
    workspace.predictions.close()
