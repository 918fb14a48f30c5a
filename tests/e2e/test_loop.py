"""The whole loop on a few weeks of real flights: stages, traffic, windows, decisions, lineage."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from e2e.kit import TRAINED_UNTIL, Up
from kit.commands import trimtab, typed
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports.summary import summarise
from trimtab.records.kinds import RECORDS
from trimtab.records.serving import Revision
from trimtab.records.training import Run

SELDOM = {
    "alert",
    "alert_message",
    "alert_position",
    "comparison",
    "resolution",
    "workflow_step",
    "token",
    "token_revocation",
    "log_gap",
    "promotion_request",
    "promotion_answer",
    "trigger_event",
    "trigger_outcome",
    "label_intake",
    "ledger_acceptance",
    "kpi_point",
    "suspicion",
    "suspicion_end",
    "retrain_request",
    "freeze",
    "quarantine_end",
    "endpoint",
    "eval_set",
    "judge_calibration",
    "spend",
    "text_erasure",
}
DEMO_RECORDS = set(RECORDS) - SELDOM
"""Kinds that a stretch without a retraining writes too."""

WINDOWS = 13
"""Days of the stretch that have closed."""


def test_a_replay_leaves_every_kind_of_record_and_a_lineage(project: Path) -> None:
    # given a trained project
    # when two weeks are replayed with the loop on
    done = trimtab("replay", "-p", project, "--from", TRAINED_UNTIL.isoformat(), "--to", "2013-03-15", "--approve")
    # then nothing failed, and the summary says what happened
    status = json.loads(typed("status", "-p", project, "--json").stdout)
    counts = {kind: entry["count"] for kind, entry in status["records"].items()}
    assert all(counts[kind] > 0 for kind in DEMO_RECORDS), counts
    assert counts["prediction_log"] > 2500
    summary = summarise(open_workspace(project), "delay")
    assert facts(done.stdout) == {
        "predictions served": summary.predictions,
        "requests failed": 0,
        "labels": summary.labels,
        "windows": summary.windows,
    }
    assert (summary.predictions + summary.scored_for_comparison, summary.errors) == (counts["prediction_log"], 0)
    assert 0 < summary.labels <= summary.predictions
    assert summary.windows == WINDOWS
    assert status["models"]["delay"]["serving"][0]["role"] == "champion"
    # and a prediction can be followed back to the code
    newest = status["records"]["prediction_log"]["latest"]["prediction_id"]
    lineage = json.loads(typed("lineage", "-p", project, newest, "--json").stdout)
    made = lineage["predictions"][0]["made_by"]
    assert {"revision", "bundle", "gates", "run", "code", "dataset", "views", "tables"} <= set(made)
    assert {table["table"] for table in made["tables"]} == {"flights", "weather"}
    assert "feature view punctuality@" in typed("lineage", "-p", project, newest).stdout
    # and the same replay again sends nothing twice
    again = typed("replay", "-p", project, "--from", TRAINED_UNTIL.isoformat(), "--to", "2013-03-15")
    assert again.returncode == 0
    status = json.loads(typed("status", "-p", project, "--json").stdout)
    assert status["records"]["prediction_log"]["count"] == counts["prediction_log"]


@pytest.fixture(scope="module")
def with_two(trained_flights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained project after a second model, of another seed, has served as challenger and was promoted."""
    folder = tmp_path_factory.mktemp("two") / "project"
    shutil.copytree(trained_flights, folder)
    edit_seed(folder, 99)
    typed("run", "-p", folder, "--as-of", "2013-03-10")
    typed("promote", "-p", folder, "--reason", "test")
    return folder


@pytest.fixture
def two_models(with_two: Path, tmp_path: Path) -> Path:
    """A copy of that project."""
    return Path(shutil.copytree(with_two, tmp_path / "two"))


def test_running_all_stages_again_changes_nothing(two_models: Path) -> None:
    # given a project whose first model has been replaced by a better one
    edit_seed(two_models, 7, was=99)
    before = open_workspace(two_models).metadata
    kinds = {name: before.count(kind) for name, kind in RECORDS.items()}
    typed("run", "-p", two_models, "--as-of", TRAINED_UNTIL.isoformat())
    after = open_workspace(two_models).metadata
    # then the policy that holds again is all that was written
    written = {"policy_version": kinds["policy_version"] + 1, "ledger_entry": kinds["ledger_entry"] + 1}
    assert {name: after.count(kind) for name, kind in RECORDS.items()} == kinds | written


def test_the_same_data_code_and_seed_train_the_same_model(project: Path, fresh_project: Path) -> None:
    trimtab("run", "-p", fresh_project, "--as-of", TRAINED_UNTIL.isoformat())
    one = open_workspace(project).metadata.find(Run)[0]
    other = open_workspace(fresh_project).metadata.find(Run)[0]
    assert one.id != other.id
    assert one.model_hash == other.model_hash
    assert one.dataset == other.dataset


def test_ctrl_c_stops_everything_and_up_goes_on(up: Up) -> None:
    up.start()
    gateway = running_gateway(up.folder / ".trimtab" / "run")
    assert gateway is not None
    assert up.interrupt() == 0
    assert running_gateway(up.folder / ".trimtab" / "run") is None
    assert "Traceback" not in up.log()
    up.start()
    assert up.interrupt() == 0


def test_rollback_restores_what_served_before(two_models: Path) -> None:
    # given a second model that serves as challenger and is promoted
    metadata = open_workspace(two_models).metadata
    assert metadata.find(Revision)[0].bundle_in("champion") == "delay/2"
    # when it is rolled back
    typed("rollback", "-p", two_models, "--reason", "worse")
    # then the first one serves again, by a new revision
    newest = metadata.find(Revision)[0]
    assert (newest.number, newest.action, newest.bundle_in("champion")) == (4, "rollback", "delay/1")


def facts(output: str) -> dict[str, int]:
    """Return counts of the table at the end of a replay."""
    names = ("predictions served", "requests failed", "labels", "windows")
    found = {name: re.search(rf"^\W*{name}\W+([\d,]+)\W*$", output, re.MULTILINE) for name in names}
    return {name: int(line[1].replace(",", "")) for name, line in found.items() if line}


def edit_seed(folder: Path, seed: int, *, was: int = 7) -> None:
    path = folder / "trimtab.yaml"
    path.write_text(path.read_text().replace(f"seed: {was}", f"seed: {seed}"))
