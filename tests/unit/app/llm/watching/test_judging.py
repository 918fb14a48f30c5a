"""Sampled live turns become labels by the judges and evaluators of their prompt; a judge is watched by its anchors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.prompt_turns import BEGIN, Traffic, write_hours
from kit.served_prompt import POLICY, make_version
from trimtab.app.llm.judge_standing import judge_of, no_harm
from trimtab.app.llm.spending import spend_store
from trimtab.app.llm.watching.judge_shares import JudgeShares
from trimtab.app.llm.watching.judging import ANCHORS, Anchor, LiveJudging
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock, from_micros
from trimtab.records.llm import JudgeCalibration
from trimtab.records.monitoring import Signal, WindowReport

JUDGE = (
    'tt.Judge("*NAME*", endpoint=local, model="judge", rubric="- refund: refund, money\\n- parcel: parcel, courier")'
)
EVALUATORS = 'tt.exact(), tt.contains("refund")'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a prompt in service; its project has a judge from here on."""
    folder = tmp_path_factory.mktemp("judged") / "project"
    workspace, _ = make_version(folder)
    workspace.predictions.close()
    return folder


def opened(made: Path, *, sample: str = "100%", name: str = "sorted", budget: str = "2/day") -> Workspace:
    """Open the project with a judge of that name."""
    code = (made / "definitions.py").read_text()
    code = code.split("[tt.Eval(")[0] + f"[tt.Eval(tickets, {EVALUATORS}, {JUDGE})]\n)\n"
    code = code.replace('prices={"classifier"', 'prices={"judge": tt.Price(input=1, output=2), "classifier"')
    (made / "definitions.py").write_text(code.replace("*NAME*", name))
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
    assert not drift(workspace)
    clock.move_to(clock.now() + timedelta(days=1))
    judging.step(wait=True)
    judging.step(wait=True)
    (same,) = drift(workspace)
    assert (same.rows, same.value, same.p) == (ANCHORS, 0.0, 1.0)
    for anchors in judging._progress.anchors.values():
        anchors.turns = [Anchor(each.id, each.version, passed=True) for each in anchors.turns]
    clock.move_to(clock.now() + timedelta(days=1))
    judging.step(wait=True)
    other = drift(workspace)[0]
    assert other.effect["passes_now"] == 0.0
    assert other.p is not None
    assert other.p < 0.05
    workspace.predictions.close()


def test_a_judge_says_by_window_what_share_it_passes_and_corrects_it_by_people(project: Path) -> None:
    workspace = opened(project)
    log(workspace, range(3))
    LiveJudging(workspace).step(wait=True)
    verdicts = [1.0 - row["label"] for row in labels(workspace, "sorted")]
    judge = judge_of(workspace, "triage", "sorted")
    assert judge is not None
    reports = [window(hour) for hour in range(3)]
    workspace.metadata.put(*reports[:1])
    shares = JudgeShares(workspace)
    (bare,) = shares.step()
    assert "it is not corrected: it was" in bare.reason
    workspace.metadata.put(calibration(judge.version), *reports[1:])
    found = shares.step()
    assert [s.rows for s in found] == [10, 10]
    assert [s.effect["judge_share"] for s in found] == [sum(verdicts[10:20]) / 10, sum(verdicts[20:]) / 10]
    assert all(s.effect["low"] < s.value < s.effect["high"] and 0 < s.effect["half_width"] < 0.5 for s in found)
    assert not JudgeShares(workspace).step()
    workspace.predictions.close()


def test_verdicts_of_a_judge_that_was_not_compared_with_people_show_no_harm(project: Path) -> None:
    workspace, llm = opened(project, name="strictly"), "llm: { promote: { metric: 'judge:strictly' } }\n"
    (project / "trimtab.yaml").write_text(f"project: tickets\n{POLICY}{llm}")
    workspace = open_workspace(project, clock=workspace.clock)
    judge = judge_of(workspace, "triage", "strictly")
    assert judge is not None
    at = workspace.now()
    harmless = no_harm(workspace, "triage", at)
    assert "shows no harm: it was not compared with people" in harmless
    assert harmless.endswith("run: trimtab judge sample strictly FILE, then trimtab judge calibrate strictly")
    workspace.metadata.put(replace(calibration(judge.version), id="strictly/0", judge="strictly"))
    assert no_harm(workspace, "triage", at) == ""
    assert "(llm.judge.recheck)" in no_harm(workspace, "triage", at + timedelta(days=60))


def drift(workspace: Workspace) -> list[Signal]:
    found = workspace.metadata.find(Signal, model="triage", kind="quality")
    return [s for s in found if s.subject.startswith("judge:sorted@")]


def window(hour: int) -> WindowReport:
    start = from_micros(BEGIN) + timedelta(hours=hour)
    return WindowReport(
        id=f"triage/v1/{hour}/matured", created_at=start, model="triage", version=1, role="champion", stage="matured",
        start=start, end=start + timedelta(hours=1), rows=10, served_rows=10, labelled=0, coverage=0.0, metrics={},
    )  # fmt: skip


def calibration(version: str, *, number: int = 0) -> JudgeCalibration:
    return JudgeCalibration(
        id=f"sorted@{version}/{number}", created_at=from_micros(BEGIN), judge="sorted", version=version, labels="ab",
        n=200, agreement=0.9, constant_agreement=0.5, kappa=0.8, kappa_low=0.7, kappa_high=0.9, sensitivity=0.9,
        specificity=0.9, flips=0.0, length_slope=0.0, allowed=True, reason="", cells=(90, 10, 10, 90),
    )  # fmt: skip
