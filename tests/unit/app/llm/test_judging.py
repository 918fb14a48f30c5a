"""Sampled live turns become labels by the judges and evaluators of their prompt; a judge is watched by its anchors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.prompt_turns import BEGIN, Traffic, write_hours
from kit.served_prompt import POLICY, make_version
from trimtab.app.llm.judging import ANCHORS, Anchor, LiveJudging
from trimtab.app.llm.spending import spend_store
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock, from_micros
from trimtab.records.monitoring import Signal

JUDGE = (
    'tt.Judge("sorted", endpoint=local, model="*JUDGE*", rubric="- refund: refund, money\\n- parcel: parcel, courier")'
)
EVALUATORS = 'tt.exact(), tt.contains("refund")'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a prompt in service; its project has a judge from here on."""
    folder = tmp_path_factory.mktemp("judged") / "project"
    workspace, _ = make_version(folder)
    workspace.predictions.close()
    return folder


def opened(made: Path, *, sample: str = "100%", model: str = "judge", budget: str = "2/day") -> Workspace:
    """Open the project with a judge of a model of the loopback provider."""
    code = (made / "definitions.py").read_text()
    code = code.split("[tt.Eval(")[0] + f"[tt.Eval(tickets, {EVALUATORS}, {JUDGE})]\n)\n"
    code = code.replace('prices={"classifier"', 'prices={"judge": tt.Price(input=1, output=2), "classifier"')
    (made / "definitions.py").write_text(code.replace("*JUDGE*", model))
    llm = f"llm: {{ judge: {{ sample: {sample}, budget: {budget} }} }}\n"
    (made / "trimtab.yaml").write_text(f"project: tickets\n{POLICY}{llm}")
    return open_workspace(made, clock=ManualClock(from_micros(BEGIN) + timedelta(hours=4)))


@pytest.fixture
def project(made: Path) -> Iterator[Path]:
    """The project without turns, labels and progress."""
    yield made
    for name in ("predictions", "run"):
        folder = made / ".trimtab" / name
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()


def labels(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    rows = workspace.predictions.read_labels()[0].to_pylist()
    return [row for row in rows if (row["name"] or "").startswith(f"judge:{name}@")]


def log(workspace: Workspace, hours: Sequence[int], **traffic: Any) -> None:
    write_hours(workspace.predictions, Traffic(rows=10, rated=0.0, **traffic), hours)
    workspace.predictions.sync()


def test_sampled_turns_are_labelled_once_by_judges_and_by_evaluators_without_expected_answers(project: Path) -> None:
    workspace = opened(project)
    log(workspace, range(3))
    judging = LiveJudging(workspace)
    judging.step(wait=True)
    LiveJudging(workspace).step(wait=True)  # a new process goes on behind what is judged
    verdicts = labels(workspace, "sorted")
    assert len(verdicts) == len({row["prediction_id"] for row in verdicts}) == 30
    assert {row["label"] for row in verdicts} <= {0.0, 1.0}
    assert {(row["source"], row["model"]) for row in verdicts} == {("judge", "triage")}
    assert len(labels(workspace, "contains")) == 30
    assert not labels(workspace, "exact")
    with closing(spend_store(workspace)) as spend:
        assert any(each.key.scope == "purpose:judge" and each.spent for each in spend.accounts())
    workspace.predictions.close()


def test_a_sample_is_the_same_for_a_turn_and_its_shadow(project: Path) -> None:
    workspace = opened(project, sample="40%")
    log(workspace, range(3))
    LiveJudging(workspace).step(wait=True)
    judged = {row["prediction_id"] for row in labels(workspace, "sorted")}
    assert 3 < len(judged) < 24
    workspace.predictions.close()


def test_hashed_texts_are_passed_over_and_counted(project: Path) -> None:
    workspace = opened(project)
    log(workspace, range(1), mode="hash")
    judging = LiveJudging(workspace)
    judging.step(wait=True)
    assert not labels(workspace, "sorted")
    assert judging.unreadable == 10
    workspace.predictions.close()


def test_a_spent_budget_ends_judging_and_the_next_day_goes_on_there(project: Path) -> None:
    workspace = opened(project, budget="0.000001/day")
    log(workspace, range(1))
    LiveJudging(workspace).step(wait=True)
    assert not labels(workspace, "sorted")
    workspace.predictions.close()
    workspace = opened(project)
    LiveJudging(workspace).step(wait=True)
    assert len(labels(workspace, "sorted")) == 10
    workspace.predictions.close()


def test_a_judge_that_changes_its_mind_is_signalled_the_next_day(project: Path) -> None:
    workspace = opened(project)
    log(workspace, range(4))
    judging = LiveJudging(workspace)
    judging.step(wait=True)
    clock = workspace.clock
    assert isinstance(clock, ManualClock)
    assert not workspace.metadata.find(Signal, model="triage", kind="quality")
    clock.move_to(clock.now() + timedelta(days=1))
    judging.step(wait=True)
    judging.step(wait=True)
    (same,) = workspace.metadata.find(Signal, model="triage", kind="quality")
    assert (same.rows, same.value, same.p) == (ANCHORS, 0.0, 1.0)
    assert same.subject.startswith("judge:sorted@")
    for anchors in judging._progress.anchors.values():
        anchors.turns = [Anchor(each.id, each.version, passed=True) for each in anchors.turns]
    clock.move_to(clock.now() + timedelta(days=1))
    judging.step(wait=True)
    other = workspace.metadata.find(Signal, model="triage", kind="quality")[0]
    assert other.effect["passes_now"] == 0.0
    assert other.p is not None
    assert other.p < 0.05
    workspace.predictions.close()
