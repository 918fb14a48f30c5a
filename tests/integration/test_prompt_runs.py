"""A prompt through all of its stages: the first version serves, a harmful edit is refused, nothing is paid twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kit.commands import typed
from kit.consoles import browser
from kit.triage_project import GOOD, HARMFUL, write_text, write_triage
from trimtab.app.project.workspace import open_workspace
from trimtab.records.gate_reports import GateReport
from trimtab.records.llm import EvalSetVersion
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_triage(tmp_path / "tickets")


def test_the_first_version_serves_and_a_harmful_edit_is_refused_with_its_interval(project: Path) -> None:
    said = typed("run", "--project", project).stdout
    assert "triage: files on 60 items of tickets" in said
    assert "to buy: 60 answers" in said
    assert "revision 1: deploy triage/1" in said
    assert "triage: unchanged, triage/1 serves it" in typed("run", "--project", project).stdout

    write_text(project, HARMFUL)
    page, junit = project / "page.html", project / "gates.xml"
    refused = typed("eval", "--project", project, "--html", page, "--junit", junit, check=False)
    assert refused.returncode == 1
    assert "the items can show a change of 10.2 points" in refused.stdout
    assert "against 100.0% of triage/1 on 60 items, -21.7 points (-30.3 to -11.7); it is worse" in refused.stderr
    assert "worse on 13 items: evals/tickets.jsonl:6 (-1)" in refused.stdout
    failures = ElementTree.parse(junit).findall(".//testcase[@classname='quality']/failure")
    assert len(failures) == 1
    assert "Worse than before" in page.read_text(encoding="utf-8")

    again = typed("run", "--project", project, check=False)
    assert again.returncode == 1
    assert "judged before by the same gates" in again.stdout
    assert "it is worse" in again.stderr
    workspace = open_workspace(project)
    revision = latest(workspace.metadata, Revision, model="triage")
    assert revision is not None
    assert [(each.role, each.bundle) for each in revision.assignments] == [("champion", "triage/1")]
    runs = workspace.metadata.find(Run, model="triage")
    assert [run.purpose for run in runs] == ["evaluate", "evaluate"]
    assert runs[0].model_hash != runs[1].model_hash
    assert runs[0].dataset == latest(workspace.metadata, EvalSetVersion, name="tickets").id  # type: ignore[union-attr]
    assert runs[0].cost == pytest.approx(0.00795)
    assert workspace.metadata.count(GateReport, model="triage") == 2
    bundle = latest(workspace.metadata, Bundle, model="triage")
    assert bundle is not None
    assert (bundle.kind, bundle.prompt_hash) == ("prompt", runs[1].model_hash)

    pages = browser(workspace)
    assert f'href="/experiments/{runs[0].id}/evaluation"' in pages.get(f"/experiments/{runs[0].id}").text
    shown = pages.get(f"/experiments/{runs[0].id}/evaluation")
    assert shown.status_code == 200
    assert "Worse than before" in shown.text
    made_again = typed("reproduce", runs[0].id, "--project", project, check=False)
    assert made_again.returncode == 2
    assert "is the evaluation of a prompt" in made_again.stderr


def test_answers_cannot_write_into_the_page(project: Path) -> None:
    hostile = {"ticket": "<script>alert(1)</script> invoice", "queue": "<b>billing</b>", "lang": "en"}
    (project / "evals" / "tickets.jsonl").write_text(json.dumps(hostile) + "\n", encoding="utf-8")
    page = project / "page.html"
    typed("eval", "--project", project, "--html", page, check=False)
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>" not in text
    assert "<b>billing" not in text


def test_the_example_runs_without_key_and_network_and_refuses_its_harmful_version(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    typed("init", "llm", "--into", folder)
    assert "deploy triage/1" in typed("run", "--project", folder).stdout
    prompts = folder / "prompts"
    (prompts / "triage.md").write_text((prompts / "triage_worse.md").read_text(encoding="utf-8"), encoding="utf-8")
    refused = typed("run", "--project", folder, check=False)
    assert refused.returncode == 1
    interval = r"of triage/1 on 300 items in \d+ clusters, -\d+\.\d points \(-.* to -.*\); it is worse"
    assert re.search(interval, refused.stderr)


def test_stages_one_by_one_and_an_edit_that_changes_no_answer(project: Path) -> None:
    early = typed("register", "--project", project, check=False)
    assert early.returncode == 3
    assert "was not judged yet; run: trimtab evaluate --model triage" in early.stderr
    typed("evaluate", "--project", project)
    assert "triage/1" in typed("register", "--project", project).stdout
    assert "champion" in typed("deploy", "--project", project).stdout

    write_text(project, GOOD | {"billing": f"{GOOD['billing']}, receipt"})
    said = typed("run", "--project", project).stdout
    assert "not worse by 10.2 points" in said
    assert "challenge triage/2" in said
    found = json.loads(typed("eval", "--project", project, "--version", "2", "--against", "1", "--json").stdout)
    assert (found["candidate"], found["champion"], found["broken"], found["run"]) == ("triage/2", "triage/1", [], None)
    assert found["bought"] == 0


def test_a_budget_ends_an_evaluation_and_a_higher_one_goes_on_from_there(project: Path) -> None:
    little = typed("eval", "--project", project, "--max-cost", "0.001", check=False)
    assert little.returncode == 1
    assert "the budget of 0.001 EUR is spent" in little.stderr
    found = json.loads(typed("eval", "--project", project, "--json").stdout)
    assert found["cached"] > 0
    assert found["bought"] + found["cached"] == 60


def test_a_margin_that_the_items_cannot_show_is_an_error_before_money_is_spent(project: Path) -> None:
    typed("run", "--project", project)
    write_text(project, HARMFUL)
    with (project / "trimtab.yaml").open("a") as policy:
        policy.write("llm:\n  gates:\n    quality: { not_worse_by: 2% }\n")
    refused = typed("eval", "--project", project, check=False)
    assert refused.returncode == 2
    assert "trimtab.yaml:6: llm.gates.quality.not_worse_by: 2.0% cannot be shown with 60 items" in refused.stderr
    assert "to buy" not in refused.stdout


def test_an_endpoint_that_is_down_ends_the_evaluation_as_infrastructure(tmp_path: Path) -> None:
    policy = "llm: { evaluate: { retries: 0 } }\n"
    project = write_triage(tmp_path / "down", model="classifier+status=500", policy=policy)
    failed = typed("eval", "--project", project, check=False)
    assert failed.returncode == 3
    assert "endpoint 'local': status 500" in failed.stderr


def test_what_an_item_lacks_is_named_with_its_line(project: Path) -> None:
    with (project / "evals" / "tickets.jsonl").open("a") as items:
        items.write('{"ticket": "' + "x" * 2001 + '", "queue": "billing", "lang": "en"}\n')
    failed = typed("eval", "--project", project, check=False)
    assert failed.returncode == 1
    assert "evals/tickets.jsonl:61: the variable 'ticket' has 2,001 characters; at most 2,000" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("triag",), "no prompt 'triag'. Did you mean 'triage'?"),
        (("--set", "ticket"), "no set 'ticket'. Did you mean 'tickets'?"),
        (("--version", "7"), "no version '7'"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest_right_ones(
    project: Path, arguments: tuple[str, ...], told: str
) -> None:
    failed = typed("eval", *arguments, "--project", project, check=False)
    assert failed.returncode == 2
    assert told in failed.stderr
