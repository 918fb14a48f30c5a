"""A judge is compared with people: below its bar it informs, above it it gates; what it says is corrected."""

from __future__ import annotations

import csv
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from kit.commands import typed
from kit.triage_project import HARMFUL, write_text, write_triage
from trimtab.app.llm.judge_standing import judge_standing
from trimtab.app.project.workspace import open_workspace
from trimtab.clock import ManualClock
from trimtab.llm.evaluate.items import read_items
from trimtab.records.llm import JudgeCalibration
from trimtab.stores.metadata.contract import latest

JUDGE = """tt.Judge(
    "right", endpoint=tt.Endpoint("judges", url="loopback", prices={"judge": tt.Price(input=1, output=1)}),
    model="judge", rubric="The answer names the queue that is expected.",
    labels=tt.FileSource("verdicts", "labels.csv", timestamp="at"))"""


def judged(folder: Path, *, right: bool) -> None:
    """Fill in the sample as a person would who is right, or who decides by the number of the ticket."""
    path = folder / "labels.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        passes = row["expected"] == row["answer"] if right else number % 2 == 0
        row["verdict"] = "pass" if passes else "fail"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_judge_gates_only_when_it_agrees_with_people(tmp_path: Path) -> None:
    project = write_triage(tmp_path / "tickets", items=120, evaluators=JUDGE)
    with_judge = ("--project", project)
    typed("run", *with_judge)
    write_text(project, HARMFUL)

    informs = typed("eval", *with_judge).stdout  # exit code 0
    assert "It informs and refuses nothing: it was not compared with people" in informs

    typed("judge", "sample", "right", project / "labels.csv", *with_judge)
    blank = typed("judge", "calibrate", *with_judge, check=False)
    assert blank.returncode == 1
    assert "no row has a verdict" in blank.stderr

    judged(project, right=False)
    poor = typed("judge", "calibrate", "right", *with_judge).stdout
    assert "may inform, and not gate: its agreement with people beyond chance is at least" in poor

    judged(project, right=True)
    good = json.loads(typed("judge", "calibrate", "right", *with_judge, "--json").stdout)
    assert (good["allowed"], good["n"], good["twice"], good["raters"], good["flips"]) == (True, 100, 20, 1.0, 0.0)
    assert good["agreement"] > 0.9  # the loopback judge turns 5 % of its verdicts round
    assert sum(good["cells"]) == 100
    assert "right   yes" in typed("judge", "list", *with_judge).stdout

    refused = typed("eval", *with_judge, check=False)
    assert refused.returncode == 1
    told = re.search(r"people, by their verdicts on both answers to (\d+) items, (-\d+\.\d) points", refused.stderr)
    assert told is not None
    assert 50 <= int(told[1]) <= 100
    assert -35 < float(told[2]) < -10
    assert "it is worse" in refused.stderr

    workspace = open_workspace(project)
    found = latest(workspace.metadata, JudgeCalibration, judge="right")
    assert found is not None
    late = open_workspace(project, clock=ManualClock(found.created_at + timedelta(days=31)))
    assert "31 days ago" in judge_standing(late, late.project.definitions.judges["right"]).refused
    definitions = project / "definitions.py"
    definitions.write_text(definitions.read_text().replace("names the queue", "is the queue"))
    changed = open_workspace(project)
    standing = judge_standing(changed, changed.project.definitions.judges["right"])
    assert "it was changed since" in standing.refused
    assert standing.calibration is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("item,verdict\nnothing,pass\n", "labels.csv:2: no set of the judge's prompts has an item 'nothing'"),
        ("item,verdict\n,pass\n", "labels.csv:2: neither item nor prediction_id"),
        ("item,answer,verdict\nITEM,billing,maybe\n", "labels.csv:2: verdict 'maybe'; expected pass or fail"),
        ("item,answer,verdict\nITEM,x,pass\nITEM,x,fail\n", "has judged this answer in labels.csv:2 already"),
        ("item,verdict\nITEM,pass\n", "labels.csv:2: there is no text in the column 'answer'"),
        ("prediction_id,verdict\nchatcmpl-1,pass\n", "labels.csv:2: the log keeps no text of the turn 'chatcmpl-1'"),
        ("item,answer\nITEM,x\n", "labels.csv:2: there is no column 'verdict'"),
    ],
)
def test_labels_that_fit_nothing_are_named_with_their_line(tmp_path: Path, rows: str, told: str) -> None:
    project = write_triage(tmp_path / "tickets", items=3, evaluators=JUDGE)
    item = read_items(open_workspace(project).project.definitions.eval_sets["tickets"], project).items[0]
    (project / "labels.csv").write_text(rows.replace("ITEM", item.id), encoding="utf-8")
    failed = typed("judge", "calibrate", "--project", project, check=False)
    assert failed.returncode == 1
    assert told in failed.stderr
