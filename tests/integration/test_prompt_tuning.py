"""A search for a better prompt: what helps challenges, what does not help is an outcome, and no money is overspent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kit.commands import typed
from kit.decisions import decide
from kit.triage_project import HARMFUL, write_text, write_triage
from kit.waiting import wait_for
from trimtab.app.llm.prompt_versions import load_prompt
from trimtab.app.loop.retraining import Retraining
from trimtab.app.project.workspace import open_workspace
from trimtab.errors import StageError, UsageError
from trimtab.records.control import WorkflowStep
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest

TUNE = "llm: { tune: { model: reflector, calls: 300 } }\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompt whose queue `shipping` has lost its words, and serves."""
    folder = write_triage(tmp_path_factory.mktemp("served") / "tickets", items=200, policy=TUNE)
    definitions = folder / "definitions.py"
    price = "tt.Price(input=1, output=2)"
    text = definitions.read_text().replace(
        f'{{"classifier": {price}}}', f'{{"classifier": {price}, "reflector": {price}}}'
    )
    definitions.write_text(text)
    write_text(folder, HARMFUL)
    typed("run", "--project", folder)
    return folder


@pytest.fixture
def project(served: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(served, tmp_path / "tickets"))


def test_what_is_better_on_items_held_out_challenges_the_champion(project: Path) -> None:
    said = typed("tune", "--project", project).stdout
    assert "written   prompts/triage.tuned.md" in said
    workspace = open_workspace(project)
    revision = latest(workspace.metadata, Revision, model="triage")
    assert revision is not None
    assert [(each.role, each.bundle) for each in revision.assignments] == [
        ("champion", "triage/1"), ("challenger", "triage/2"),
    ]  # fmt: skip
    run = latest(workspace.metadata, Run, model="triage")
    assert run is not None
    assert (run.purpose, run.params["search"], run.params["champion"]) == ("tune", 1, "triage/1")
    spec = load_prompt(workspace, workspace.metadata.get(Bundle, "triage/2"))
    before = load_prompt(workspace, workspace.metadata.get(Bundle, "triage/1"))
    assert spec.sections["instructions"] != before.sections["instructions"]
    assert (spec.variables, spec.schema, spec.params) == (before.variables, before.schema, before.params)
    assert spec.sections["instructions"] in (project / "prompts" / "triage.tuned.md").read_text()
    spent = json.loads(typed("spend", "--project", project, "--json").stdout)
    assert "tune" in json.dumps(spent)


def test_the_loop_searches_when_a_decision_says_so(project: Path) -> None:
    workspace = open_workspace(project)
    decision = decide(workspace, "retrain", model="triage")
    retraining = Retraining(workspace)
    retraining.launch()
    try:
        workflow = retraining.start(decision, as_of=decision.end, approved=True)
        wait_for(lambda: not retraining.unfinished(), "the workflow ends")
    finally:
        retraining.close()
    steps = workspace.metadata.find(WorkflowStep, workflow=workflow)
    assert [step.step for step in steps] == ["challenge", "search"]
    revision = latest(workspace.metadata, Revision, model="triage")
    assert revision is not None
    assert (revision.bundle_in("challenger"), revision.by) == ("triage/2", "trimtab")
    assert revision.reason == f"tuned by decision {decision.id}"


def test_a_search_without_gain_changes_nothing_and_ends_well(project: Path) -> None:
    (project / "trimtab.yaml").write_text((project / "trimtab.yaml").read_text().replace(TUNE, ""))
    done = typed("tune", "--project", project, "--calls", "150", "--json")  # the classifier proposes nothing of use
    found = json.loads(done.stdout)
    assert (found["accepted"], found["revision"]) == (False, None)
    assert latest(open_workspace(project).metadata, Bundle, model="triage").version == 1  # type: ignore[union-attr]


def test_no_proposal_begins_that_the_budget_might_not_cover(project: Path) -> None:
    found = json.loads(typed("tune", "--project", project, "--max-cost", "0.02", "--json").stdout)
    assert found["cost"] <= 0.02
    assert found["proposals"] == 0


def test_what_cannot_be_tuned_says_why(tmp_path: Path) -> None:
    folder = write_triage(tmp_path / "few", items=60)
    nothing = typed("tune", "--project", folder, check=False)
    assert nothing.returncode == StageError.exit_code
    assert "nothing serves for prompt 'triage' yet" in nothing.stderr
    typed("run", "--project", folder)
    few = typed("tune", "--project", folder, check=False)
    assert few.returncode == UsageError.exit_code
    assert "and a search needs" in few.stderr
