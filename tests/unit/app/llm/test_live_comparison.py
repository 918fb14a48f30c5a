"""A challenger of a prompt on live traffic: verdicts from the logs, and what is done about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kit.commands import typed
from trimtab.app.llm.live_comparison import LiveComparisons
from trimtab.app.llm.split_traffic import SplitTraffic
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.status import status
from trimtab.app.reports.version_comparison import compare_versions
from trimtab.clock import ManualClock, to_micros
from trimtab.control.holds import set_freeze
from trimtab.errors import StageError
from trimtab.records.llm import JudgeCalibration
from trimtab.records.monitoring import Comparison, WindowReport
from trimtab.records.serving import Assignment, Revision
from trimtab.stores.predictions.label_rule import answer_id
from trimtab.testing.judged import DAY, FIRST, bundle_record
from trimtab.testing.predictions import label_rows, prediction_rows
from trimtab.units import MICROS

DEFINITIONS = """
import trimtab as tt

model = tt.Endpoint("local", url="loopback", prices={"classifier": tt.Price(input=0.1, output=0.2)})
polite = tt.Judge("polite", endpoint=model, model="judge", rubric="It is polite.")
triage = tt.Prompt("triage", file="triage.md", endpoint=model, model="classifier")
"""
TEMPLATE = "# system\nSort the ticket.\n# user\n{{ ticket }}\n"
HOUR = MICROS["h"]


def open_project(folder: Path, llm: str, rollout: str = "{}") -> Workspace:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "triage.md").write_text(f"---\nvariables: {{ ticket: {{}} }}\n---\n{TEMPLATE}")
    decide = "{ window: 1d, labels_mature_after: 2h }"
    (folder / "trimtab.yaml").write_text(f"project: p\nrollout: {rollout}\ndecide: {decide}\nllm: {llm}\n")
    return open_workspace(folder, clock=ManualClock(FIRST))


def split(workspace: Workspace, number: int, share: float, *, challenger: int = 2, role: str = "challenger") -> None:
    sides = ((1, "champion", 1 - share), (challenger, role, share))
    assignments = tuple(
        Assignment(role=side, bundle=f"triage/{version}", version=version, weight=100 * weight)  # type: ignore[arg-type]  # text of a table
        for version, side, weight in sides
    )
    for version in (1, challenger):
        if not workspace.metadata.find(WindowReport, model="triage", version=version):
            workspace.metadata.put(msgspec.structs.replace(bundle_record(version, model="triage"), kind="prompt"))
    workspace.metadata.put(
        Revision(
            id=f"triage#{number}",
            created_at=FIRST,
            model="triage",
            number=number,
            assignments=assignments,
            action="challenge",
            cause=f"test{number}",
            reason="made for a test",
            by="tester",
        )
    )


class Traffic:
    """Conversations of two turns, every `gap` microseconds one; of a bad one the second turn gets a thumb down."""

    def __init__(self, workspace: Workspace, *, share: float, revision: int = 1, seed: int = 0, gap: int = HOUR // 60):
        self.workspace, self.share, self.revision, self.gap = workspace, share, revision, gap
        self.random = np.random.default_rng(seed)
        self.count, self.log, self.name = 0, workspace.predictions, "thumbs"

    def run(self, conversations: int, rates: tuple[float, float], *, users: int = 0, **changed: Any) -> None:
        """rates: of bad conversations, of champion and challenger. users: who return; 0 for none."""
        rows: dict[str, list[Any]] = {name: [] for name in ("id", "role", "at", "entities")}
        labels: list[tuple[str, int]] = []
        for _ in range(conversations):
            n, self.count = self.count, self.count + 1
            user = int(self.random.integers(users)) if users else n
            place = (user * 0.6180339887) % 1 if users else self.random.random()
            in_challenger = place < self.share
            begun = to_micros(FIRST) + n * self.gap
            for turn in range(2):
                rows["id"].append(f"{self.workspace.name}-{n}-{turn}")
                rows["role"].append("challenger" if in_challenger else "champion")
                rows["at"].append(begun + turn)
                rows["entities"].append([("conversation", f"c{n}"), ("user", f"u{user}")])
            if self.random.random() < rates[in_challenger]:
                labels.append((rows["id"][-1], begun + 30 * self.gap))
        many = len(rows["id"])
        self.log.append(
            prediction_rows(
                rows["id"],
                model=["triage"] * many,
                role=rows["role"],
                version=[1 + (role == "challenger") for role in rows["role"]],
                event_time=rows["at"],
                logged_at=rows["at"],
                entities=rows["entities"],
                **{k: [v] * many for k, v in ({"revision": self.revision} | changed).items()},
            )
        )
        self.thumbs([turn for turn, _ in labels], [at for _, at in labels])

    def thumbs(self, turns: Sequence[str], at: Sequence[int], label: float = 1.0) -> None:
        many = len(turns)
        self.log.append_labels(
            label_rows(
                turns,
                model=["triage"] * many,
                label=[label] * many,
                known_at=at,
                received_at=at,
                name=[self.name] * many,
                source=["user"] * many,
                rater=["x"] * many,
            )
        )


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_project(tmp_path / "p", "{ promote: { smallest_effect: 0 } }")


def comparisons(workspace: Workspace) -> LiveComparisons:
    """Return those of a process that has just started; there is no registry."""
    return LiveComparisons(workspace, aliases=lambda find, model: None)


def step(workspace: Workspace, live: LiveComparisons | None = None) -> list[Comparison]:
    return (live or comparisons(workspace)).step("triage", workspace.project.policy)


def newest(workspace: Workspace) -> Revision:
    return workspace.metadata.find(Revision, model="triage")[0]


def test_a_better_challenger_is_promoted_with_its_evidence(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    Traffic(ws, share=0.5).run(2_500, (0.10, 0.04))
    made = step(ws)
    verdict = made[-1]
    assert [c.verdict for c in made] == ["continue"] * (len(made) - 1) + ["promote"]
    assert (verdict.unit, verdict.metric, verdict.revision) == ("conversations", "thumbs_down", 1)
    assert verdict.low is not None
    assert verdict.mean is not None
    assert 0 < verdict.low < verdict.mean
    assert "the challenger is better: rate of thumbs_down 0." in verdict.reason
    now = newest(ws)
    assert (now.action, now.bundle_in("champion"), now.bundle_in("challenger")) == ("promote", "triage/2", None)
    assert (now.cause, now.reason, now.by) == (f"{verdict.id}/promote", verdict.reason, "trimtab")
    assert step(ws) == []


def test_status_shows_how_a_challenger_does_while_it_serves(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    Traffic(ws, share=0.5).run(1_500, (0.1, 0.1))
    made = step(ws)
    shown = status(ws)["models"]["triage"]["comparison"]
    assert (shown["verdict"], shown["reason"]) == ("continue", made[-1].reason)
    assert "not decided: rate of thumbs_down" in shown["reason"]
    split(ws, 2, 0.0, role="shadow", challenger=3)
    assert status(ws)["models"]["triage"]["comparison"] is None


def test_a_worse_challenger_is_taken_back(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    Traffic(ws, share=0.5).run(2_000, (0.05, 0.15))
    assert step(ws)[-1].verdict == "harm"
    now = newest(ws)
    assert (now.action, now.bundle_in("champion"), now.bundle_in("challenger")) == ("abandon", "triage/1", None)
    assert "the challenger is worse" in now.reason


def test_one_that_gains_too_little_and_one_without_a_verdict_are_abandoned(tmp_path: Path) -> None:
    one = open_project(tmp_path / "a", "{ promote: { smallest_effect: 0.5 } }")
    split(one, 1, 0.5)
    Traffic(one, share=0.5).run(3_000, (0.1, 0.1))
    assert step(one)[-1].verdict == "futile"
    other = open_project(tmp_path / "b", "{ promote: { max_conversations: 400 } }")
    split(other, 1, 0.5)
    traffic = Traffic(other, share=0.5)
    traffic.run(430, (0.1, 0.1))
    assert [c.verdict for c in step(other)] == []
    traffic.run(200, (0.1, 0.1))
    last = step(other)[-1]
    assert (last.verdict, last.labels) == ("expired", 400)
    assert last.end == FIRST + 399 * timedelta(minutes=1) + timedelta(hours=2)
    assert newest(one).action == newest(other).action == "abandon"


def test_the_verdict_and_every_record_are_the_same_however_often_it_looks_and_restarts(tmp_path: Path) -> None:
    found = []
    for place, blocks in enumerate(([3_000], [500] * 6, [300] * 10)):
        workspace = open_project(tmp_path / str(place), "{ promote: { smallest_effect: 0 } }")
        split(workspace, 1, 0.5)
        traffic, live = Traffic(workspace, share=0.5, seed=3), comparisons(workspace)
        for block in blocks:
            traffic.run(block, (0.10, 0.05))
            step(workspace, live if place == 1 else comparisons(workspace))
        records = workspace.metadata.find(Comparison, model="triage", oldest_first=True)
        found.append([msgspec.structs.replace(c, created_at=FIRST, predictions_per_day=0.0) for c in records])
    assert found[0] == found[1] == found[2]
    assert found[0][-1].verdict == "promote"


def test_a_changed_share_is_taken_into_account(ws: Workspace) -> None:
    split(ws, 1, 0.1)
    traffic = Traffic(ws, share=0.1)
    traffic.run(1_500, (0.1, 0.1))
    live = comparisons(ws)
    step(ws, live)
    split(ws, 2, 0.6)
    traffic.share, traffic.revision = 0.6, 2
    traffic.run(1_500, (0.1, 0.1))
    made = step(ws, live)
    assert {c.verdict for c in made} == {"continue"}, "more bad events came because more conversations did"
    assert made[-1].revision == 1
    low, high = made[-1].low, made[-1].high
    assert low is not None
    assert high is not None
    assert low < 0 < high


def test_pinned_turns_shadows_and_earlier_revisions_do_not_count(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    traffic = Traffic(ws, share=0.5)
    traffic.run(1_000, (0.5, 0.0), route="pinned")
    traffic.run(1_000, (0.5, 0.0), revision=0)
    assert step(ws) == []
    assert newest(ws).number == 1


def test_a_fallback_answers_for_the_version_that_failed(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    traffic = Traffic(ws, share=0.5)
    traffic.run(1_500, (0.08, 0.08))
    log, at = ws.predictions, to_micros(FIRST)
    for n in range(60):  # the challenger failed, the champion answered badly in its place
        turn = [f"f{n}"]
        common: dict[str, list[Any]] = {
            "model": ["triage"],
            "event_time": [at + n * HOUR // 60],
            "entities": [[("conversation", f"f{n}")]],
        }
        log.append(prediction_rows(turn, role=["challenger"], route=["split"], served=[False], revision=[1], **common))
        log.append(prediction_rows(turn, role=["champion"], route=["fallback"], revision=[1], **common))
        traffic.thumbs(turn, [at + n * HOUR // 60 + 1])
    assert step(ws)[-1].verdict == "harm"


def test_only_the_first_bad_event_of_a_conversation_counts(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    traffic = Traffic(ws, share=0.5)
    traffic.run(2_900, (0.0, 0.0))
    ids = [f"{ws.name}-{n}-{turn}" for n in range(6) for turn in range(2)]
    for _ in range(20):
        traffic.thumbs(ids, [to_micros(FIRST) + HOUR] * len(ids))
    assert {c.verdict for c in step(ws)} == {"continue"}


def test_a_label_that_is_read_before_its_turn_waits_for_it(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    traffic, live = Traffic(ws, share=0.5), comparisons(ws)
    traffic.thumbs([f"{ws.name}-{n}-1" for n in range(400)], [to_micros(FIRST) + n * HOUR // 60 for n in range(400)])
    step(ws, live)
    traffic.run(1_500, (0.0, 0.0))
    (first, *_) = step(ws, live)
    bad = [int(count) for count in re.findall(r"(\d+) of", first.reason)]
    assert (len(bad), sum(bad)) == (2, 400)


def test_returning_users_promote_by_pairs_of_users(tmp_path: Path) -> None:
    workspace = open_project(tmp_path / "p", "{ sticky: user, promote: { user_period: 1d, smallest_effect: 0 } }")
    split(workspace, 1, 0.5)
    traffic = Traffic(workspace, share=0.5)
    traffic.run(2_800, (0.4, 0.1), users=300)
    made = step(workspace)
    assert made[-1].verdict == "promote"
    assert made[-1].unit == "users"
    assert "pairs of users" in made[-1].reason
    assert newest(workspace).action == "promote"


def test_a_freeze_holds_a_promotion_back_and_not_the_end_of_a_harmful_challenger(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    set_freeze(ws.metadata, "triage", frozen=True, reason="holidays", by="tester", clock=ws.clock)
    Traffic(ws, share=0.5).run(2_500, (0.10, 0.04))
    live = comparisons(ws)
    assert step(ws, live)[-1].verdict == "promote"
    assert newest(ws).number == 1
    set_freeze(ws.metadata, "triage", frozen=False, reason="over", by="tester", clock=ws.clock)
    step(ws, live)
    assert newest(ws).action == "promote"


def test_a_canary_is_promoted_by_its_steps(tmp_path: Path) -> None:
    workspace = open_project(tmp_path / "p", "{}", rollout="{ strategy: canary }")
    split(workspace, 1, 0.5)
    Traffic(workspace, share=0.5).run(2_500, (0.10, 0.03))
    assert step(workspace)[-1].verdict == "promote"
    assert newest(workspace).number == 1


def test_a_judge_that_was_not_compared_with_people_informs_and_decides_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = open_project(tmp_path / "p", "{ promote: { metric: 'judge:polite', smallest_effect: 0 } }")
    split(workspace, 1, 0.5)
    traffic, live = Traffic(workspace, share=0.5), comparisons(workspace)
    traffic.name = "judge:polite@1"
    traffic.run(2_500, (0.10, 0.04))
    assert step(workspace, live)[-1].verdict == "promote"
    step(workspace, live)
    assert newest(workspace).number == 1
    (said,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "judge 'polite' may not decide: it was not compared with people" in said
    calibrated(workspace)
    step(workspace, live)
    assert newest(workspace).action == "promote"


def test_another_comparison_of_the_same_versions_begins_anew(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    traffic = Traffic(ws, share=0.5)
    traffic.run(2_000, (0.05, 0.15))
    assert step(ws)[-1].verdict == "harm"
    split(ws, 3, 0.5)
    traffic.revision = 3
    traffic.run(2_900, (0.12, 0.04))
    assert step(ws)[-1].verdict == "promote"


def shadow_comparison(**changed: Any) -> Comparison:
    found = Comparison(
        id="triage/v2/comparison/v1/2026-03-01T00:00:00Z",
        created_at=FIRST,
        model="triage",
        version=2,
        against=1,
        window="triage/v2/2026-03-01T00:00:00Z/matured",
        start=FIRST,
        end=FIRST + DAY,
        metric="bad_rate",
        gain=0.1,
        mean=0.1,
        low=0.05,
        high=0.15,
        windows=20,
        held_out=0,
        labels=2_000,
        predictions_per_day=10.0,
        money_per_day=None,
        money_per_day_low=None,
        money_per_day_high=None,
        verdict="continue",
        reason="not decided",
    )
    return msgspec.structs.replace(found, **changed)


def calibrated(workspace: Workspace) -> None:
    polite = workspace.project.definitions.judges["polite"]
    workspace.metadata.put(
        JudgeCalibration(
            id="polite@x/y",
            created_at=FIRST,
            judge="polite",
            version=polite.version,
            labels="y",
            n=200,
            agreement=0.9,
            constant_agreement=0.6,
            kappa=0.8,
            kappa_low=0.7,
            kappa_high=0.9,
            sensitivity=0.9,
            specificity=0.9,
            flips=0.0,
            length_slope=0.0,
            allowed=True,
            reason="",
        )
    )


def test_the_verdict_of_a_judged_shadow_is_acted_on(tmp_path: Path) -> None:
    workspace = open_project(tmp_path / "p", "{}", rollout="{ strategy: shadow }")
    split(workspace, 1, 0.0, role="shadow")
    workspace.metadata.put(shadow_comparison())
    step(workspace)
    assert newest(workspace).number == 1
    workspace.metadata.put(shadow_comparison(id="later", verdict="promote", reason="it is better"))
    step(workspace)
    assert (newest(workspace).action, newest(workspace).reason) == ("promote", "it is better")


def judged(workspace: Workspace, *, people: tuple[float, float], judge: tuple[float, float]) -> None:
    """Log verdicts on 400 turns of both versions, of people on 80 of them. Pairs: share that fails, by version."""
    log, at = workspace.predictions, to_micros(FIRST)
    for name, fails, many in (("judge:polite@1", judge, 400), ("human:support", people, 80)):
        for version in (1, 2):
            turns = [f"t{n}" if version == 1 else answer_id(f"t{n}", 2) for n in range(many)]
            label = [float((n * 37) % 100 < 100 * fails[version - 1]) for n in range(many)]
            columns = {"model": "triage", "name": name, "source": "judge", "rater": "x", "known_at": at}
            log.append_labels(
                label_rows(turns, label=label, received_at=[at] * many, **{k: [v] * many for k, v in columns.items()})
            )


def test_people_who_judged_both_versions_correct_the_judge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    llm = "{ promote: { by: judge, metric: 'judge:polite' } }"
    one, other = (open_project(tmp_path / name, llm, rollout="{ strategy: shadow }") for name in ("a", "b"))
    for workspace in (one, other):
        split(workspace, 1, 0.0, role="shadow")
        calibrated(workspace)
        workspace.metadata.put(shadow_comparison(verdict="promote", reason="it is better"))
    judged(one, judge=(0.3, 0.1), people=(0.1, 0.4))
    step(one)
    assert newest(one).number == 1
    assert "changes nothing: corrected by 80 turns of which people judged both answers" in caplog.text
    judged(other, judge=(0.3, 0.1), people=(0.3, 0.1))
    step(other)
    assert newest(other).action == "promote"
    assert newest(other).reason.startswith("it is better; corrected by 80 turns")
    assert "points (+" in newest(other).reason


def test_compare_says_how_the_conversations_went_and_refuses_rows(ws: Workspace) -> None:
    split(ws, 1, 0.5)
    Traffic(ws, share=0.5).run(2_500, (0.10, 0.04))
    step(ws)
    folder = ("-p", ws.project.folder)
    said = typed("compare", "triage", *folder).stdout
    assert "Version 2 is better than version 1, after" in said
    assert "fewer thumbs down" in said
    assert "conversations at most." in said
    assert '"verdict": "promote"' in typed("compare", "triage", "--json", "-", *folder).stdout
    with pytest.raises(StageError, match="'triage' is a prompt: its answers have no scores"):
        compare_versions(ws, "triage", (2, 1))


def test_a_conversation_belongs_to_the_version_of_its_first_turn_in_event_time(ws: Workspace) -> None:
    at = to_micros(FIRST)
    log: dict[str, list[Any]] = {"model": ["triage"] * 3, "revision": [2, 1, 1], "event_time": [at + 9, at, at + 5]}
    log |= {"role": ["champion", "challenger", "champion"], "entities": [[("user", "u"), ("conversation", "c")]] * 3}
    ws.predictions.append(prediction_rows(["late", "first", "other"], **log))
    traffic = SplitTraffic(ws.predictions, "triage", "thumbs_down", 1)
    assert traffic.read()
    assert not traffic.read()
    (found,) = traffic.conversations.values()
    assert (found.key, found.user, found.turns) == ("c", "u", 3)
    assert (found.first, found.in_challenger, found.revision) == (at, True, 1)
    assert traffic.reached == at + 9
