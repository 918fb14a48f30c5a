"""From a prediction back: its bundle, its revision, and the one label of several that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.lineage import UnknownPrediction, latest_label, lineage
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.testing.judged import bundle_record, dataset_record, gate_report, run_record
from trimtab.testing.predictions import label_rows, prediction_rows


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Versions 1 and 2 have been champion in turn."""
    opened = GatewayProject(tmp_path / "project").workspace
    opened.metadata.put(dataset_record())
    rollouts = Rollouts(opened.metadata, opened.project.policy.rollout, "delay", opened.clock)
    for version in (1, 2):
        report = gate_report(version, key="k")
        opened.metadata.put(run_record(version), report)
        bundle = msgspec.structs.replace(bundle_record(version), gate_report=report.id)
        opened.metadata.put(bundle)
        rollouts.deploy(bundle, cause=f"{version}", reason="a test", by="tests", role="champion")
    yield opened
    opened.metadata.close()


def predicted(workspace: Workspace, **changed: Any) -> dict[str, Any]:
    """Log one prediction, and return what is told of it."""
    workspace.predictions.append(prediction_rows(["p"], model=["delay"], **changed))
    (found,) = lineage(workspace, "p")["predictions"]
    return dict(found)


def test_a_prediction_names_the_version_and_the_revision_that_answered(workspace: Workspace) -> None:
    found = predicted(workspace, version=[1], revision=[1], features=[[7.0]])
    made = found["made_by"]
    assert (made["bundle"]["id"], made["run"]["id"], made["revision"]["number"]) == ("delay/1", "run1", 1)
    assert (made["gates"]["run"], made["dataset"]["id"]) == ("run1", "dataset")
    assert found["features"] == {"row": 7.0}


def test_personal_data_of_a_prediction_is_masked(workspace: Workspace) -> None:
    source = next(iter(workspace.project.definitions.sources.values()))
    object.__setattr__(source, "pii", ("row", "carrier"))
    entities = [[("carrier", "EV"), ("route", "JFK-BOS")]]
    found = predicted(workspace, version=[1], revision=[1], features=[[7.0]], entities=entities)
    assert found["features"] == {"row": "***"}
    assert found["entities"] == {"carrier": "***", "route": "JFK-BOS"}


def test_what_no_model_gave_is_traced_to_the_champion_of_its_revision(workspace: Workspace) -> None:
    assert predicted(workspace, version=[0], revision=[1])["made_by"]["bundle"]["id"] == "delay/1"


def test_a_prediction_that_is_not_in_the_log_is_told(workspace: Workspace) -> None:
    with pytest.raises(UnknownPrediction, match="no prediction 'unknown' is in the log") as refused:
        lineage(workspace, "unknown")
    assert refused.value.exit_code == 1


def test_the_label_known_last_counts_and_of_those_the_last_to_come(workspace: Workspace) -> None:
    assert latest_label(workspace, "p", "delay") is None
    for label, known in ((1.0, 30), (0.0, 20), (2.0, 30), (3.0, 10)):
        workspace.predictions.append_labels(label_rows(["p"], model=["delay"], label=[label], known_at=[known]))
    workspace.predictions.append_labels(label_rows(["p"], model=["another"], label=[9.0], known_at=[99]))
    found = latest_label(workspace, "p", "delay")
    assert found is not None
    assert found["label"] == 2.0
