"""The monitor on the turns of a prompt: drift of topics, bad ratings, new models, hashed texts, restarts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from kit.prompt_turns import PROMPT, Traffic, reference_turns, write_hours
from trimtab.bundle.prompt_spec import TURN_ANSWERS, TURN_FEATURES, TURN_INPUTS
from trimtab.clock import EPOCH, ManualClock
from trimtab.llm.topics import ANSWER_TOPICS, QUESTION_TOPICS, Topics, TurnTopics
from trimtab.monitoring.detection.own_windows import FIRST_WINDOWS
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.prompts.served_turns import served_turns
from trimtab.monitoring.prompts.turn_reference import (
    ReferenceTurn,
    TurnReference,
    build_turn_reference,
)
from trimtab.monitoring.reference import WINDOWS_FILE, Reference
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import LEARNT, Signal, WindowReport
from trimtab.stores.predictions.contract import START
from trimtab.stores.predictions.label_rule import answer_id
from trimtab.testing.predictions import label_rows
from trimtab.units import MICROS
from unit.monitoring.monitor_bench import Bench, content, lowest

POLICY = parse_policy(
    """
project: support
impact: { currency: USD, cost: { bad_turn: 2 } }
decide: { window: 1h, lateness: 10m, labels_mature_after: 1h }
"""
)
HORIZON = FIRST_WINDOWS + 14
"""Hours of ordinary traffic before anything changes."""


@cache
def made() -> TurnReference:
    """Return the reference that 200 answers of an evaluation give."""
    return build_turn_reference(reference_turns(200), window=POLICY.decide.window)


def reference_of(found: TurnReference) -> Reference:
    """Return what the monitor reads of a bundle."""
    topics = TurnTopics(*(Topics.from_bytes(found.files[path]) for path in (QUESTION_TOPICS, ANSWER_TOPICS)))
    known = Reference.from_json(found.files[WINDOWS_FILE])
    return replace(known, topics=topics, category_names=found.categories)


class PromptBench(Bench):
    """A log of turns, and monitors on it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.own: Reference | None = None

    def rebuild(self, windows: Sequence[WindowReport]) -> Reference:
        turns = served_turns(self.log, windows, metric="thumbs_down")
        self.own = reference_of(build_turn_reference(turns, window=POLICY.decide.window, own=True))
        return self.own

    def watch(self, metric: str = "thumbs_down") -> Monitor:
        promote = POLICY.llm.promote.model_copy(update={"metric": metric})
        policy = POLICY.model_copy(update={"llm": POLICY.llm.model_copy(update={"promote": promote})})
        return Monitor(
            self.book,
            self.log,
            policy,
            lambda model, version: self.own or reference_of(made()),
            ManualClock(EPOCH),
            checkpoint=self.checkpoint,
            prompts=[PROMPT],
            rebuild=self.rebuild,
        )

    def of(self, kind: str, subject: str = "all", since: int = 0) -> list[Signal]:
        """Return the signals of the windows from an hour on."""
        first = EPOCH.timestamp() + 1_767_225_600 + since * 3600
        return [s for s in self.signals(kind, subject) if s.start.timestamp() >= first]  # type: ignore[arg-type]  # a kind


@pytest.fixture
def prompts(tmp_path: Path) -> Iterator[PromptBench]:
    found = PromptBench(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PromptBench]:
    """Ordinary hours; then a new subject in 30 % of the questions, and later twice as many more thumbs down."""
    found = PromptBench(tmp_path_factory.mktemp("changed"))
    monitor = found.watch()
    usual = Traffic(seed=1)
    write_hours(found.log, usual, range(HORIZON))
    monitor.step()
    write_hours(found.log, Traffic(seed=2, new=0.3), range(HORIZON, HORIZON + 6))
    monitor.step()
    write_hours(found.log, Traffic(seed=3, bad=0.6), range(HORIZON + 6, HORIZON + 14))
    monitor.step()
    yield found
    found.close()


def test_columns_say_what_was_asked_what_came_back_and_what_it_took() -> None:
    operations = {"first_token_ms", "ms_per_token", "cost"}
    assert {*TURN_INPUTS} | {*TURN_ANSWERS} | operations == {*TURN_FEATURES}
    assert not {*TURN_INPUTS} & {*TURN_ANSWERS}


def test_ordinary_hours_raise_no_alarm_and_the_first_ones_are_learnt(changed: PromptBench) -> None:
    data = [s for s in changed.of("data") if s.start < changed.of("data", since=HORIZON)[0].start]
    assert len(data) == HORIZON - FIRST_WINDOWS
    assert data[0].reference_windows == FIRST_WINDOWS
    assert data[0].compared_with == f"the version's own first {FIRST_WINDOWS}"
    assert lowest(data) > 0.05


def test_a_new_subject_in_the_questions_is_signalled_by_the_topics(changed: PromptBench) -> None:
    drifted = changed.of("data", since=HORIZON)[:6]
    assert lowest(drifted) < 0.01
    assert {*drifted[-1].carriers} & {"topic", "topic_distance"}


def test_a_rise_of_thumbs_down_is_a_concept_signal(changed: PromptBench) -> None:
    before = [s for s in changed.of("concept") if s.p_seq is not None][: HORIZON - FIRST_WINDOWS]
    assert lowest(before) > 0.05
    assert lowest(changed.of("concept", since=HORIZON + 6)) < 0.05
    assert changed.of("concept")[0].reason == LEARNT
    rates = [w.metrics["bad_rate"] for w in changed.reports()]
    assert np.mean(rates[:HORIZON]) == pytest.approx(0.1, abs=0.04)
    assert np.mean(rates[HORIZON + 6 :]) == pytest.approx(0.6, abs=0.1)


def test_bad_turns_cost_money_beyond_those_of_the_first_windows(changed: PromptBench) -> None:
    lost = changed.of("kpi")
    assert len(lost) == len(changed.reports()) - FIRST_WINDOWS
    assert lost[0].effect["expected_per_prediction"] == pytest.approx(0.2, abs=0.1)  # 10 % bad, 2 USD each
    assert np.mean([s.value for s in lost[-4:]]) > 40 * 0.6


def test_turns_cost_what_their_endpoint_charges(changed: PromptBench) -> None:
    report = changed.reports("closed")[0]
    assert report.metrics["turn_cost"] == pytest.approx(40 * 45e-6, rel=0.2)
    assert report.metrics["cost"] >= report.metrics["turn_cost"]
    assert changed.of("latency")[0].statistic.startswith("95th percentile of the time to the first token")
    assert changed.of("latency")[0].value == pytest.approx(report.metrics["first_token_p95_ms"])


def test_a_model_that_never_answered_before_is_told_at_once(prompts: PromptBench) -> None:
    write_hours(prompts.log, Traffic(), range(2))
    write_hours(prompts.log, Traffic(reported="classifier-2", rows=3), range(2, 4))
    write_hours(prompts.log, Traffic(), range(4, 6))
    prompts.watch().step()
    found = prompts.of("quality", "absolute:model_reported")
    assert [s.start.hour for s in found] == [2]
    assert "a category that the reference does not have" in found[0].reason


def test_hashed_texts_have_no_topics_and_the_signal_says_so(prompts: PromptBench) -> None:
    write_hours(prompts.log, Traffic(mode="hash"), range(3))
    prompts.watch().step()
    (first, *_) = prompts.of("quality", "texts")
    assert first.value == 1.0
    assert "llm.store.messages" in first.reason


def test_labels_of_another_name_do_not_count(prompts: PromptBench) -> None:
    write_hours(prompts.log, Traffic(label=("judge:polite@1", "judge")), range(4))
    prompts.watch().step()
    assert {w.labelled for w in prompts.reports()} == {0}


def test_the_labels_of_a_judge_count_where_the_policy_names_it(prompts: PromptBench) -> None:
    write_hours(prompts.log, Traffic(label=("judge:polite@1", "judge"), rated=1.0), range(4))
    prompts.watch(metric="judge:polite").step()
    assert {w.labelled for w in prompts.reports()} == {40}


def with_shadow(prompts: PromptBench, traffic: Traffic, hours: int, bad: float | None) -> None:
    """Log turns, every other one of which a shadow answers. bad: share that a judge fails; None: it judges none."""
    place, random = START, np.random.default_rng(0)
    for hour in range(hours):
        write_hours(prompts.log, traffic, [hour])
        rows, place = prompts.log.read(place)
        rows = rows.take(list(range(0, rows.num_rows, 2)))  # `llm.shadow.sample`
        log = {name: rows[name].to_pylist() for name in rows.column_names}
        log |= {name: rows[name].cast("int64").to_pylist() for name in ("event_time", "logged_at")}
        many = rows.num_rows
        log |= {"version": [2] * many, "role": ["shadow"] * many, "served": [False] * many}
        prompts.log.append(log)
        _, place = prompts.log.read(place)
        judged = [] if bad is None else [answer_id(turn, 2) for turn in log["prediction_id"]]
        fields: dict[str, str] = {"model": PROMPT, "name": "judge:polite@1", "source": "judge", "rater": "polite"}
        times = {name: log["event_time"][: len(judged)] for name in ("known_at", "received_at")}
        label = [float(each < (bad or 0.0)) for each in random.random(len(judged))]
        columns = {name: [value] * len(judged) for name, value in fields.items()}
        prompts.log.append_labels(label_rows(judged, label=label, **columns, **times))


def test_a_shadow_is_judged_by_the_labels_of_its_own_answers(prompts: PromptBench) -> None:
    with_shadow(prompts, Traffic(label=("judge:polite@1", "judge"), rated=1.0, bad=0.5), 8, bad=0.1)
    prompts.watch(metric="judge:polite").step()
    of = {version: [w for w in prompts.reports() if w.version == version] for version in (1, 2)}
    rates = [np.mean([w.metrics["bad_rate"] for w in of[version]]) for version in (1, 2)]
    assert rates == [pytest.approx(0.5, abs=0.1), pytest.approx(0.1, abs=0.05)]
    gains = [w.metrics["paired_bad_rate_gain"] for w in of[2]]
    assert np.mean(gains) == pytest.approx(rates[0] - rates[1], abs=0.1)
    assert {w.metrics["paired_rows"] for w in of[2]} == {20.0}


def test_what_users_said_of_the_answer_they_got_is_no_label_of_the_shadow(prompts: PromptBench) -> None:
    with_shadow(prompts, Traffic(rated=1.0, bad=0.5), 4, bad=None)
    prompts.watch().step()
    assert {w.labelled for w in prompts.reports() if w.version == 1} == {40}
    shadows = [w for w in prompts.reports() if w.version == 2]
    assert {(w.labelled, w.metrics.get("paired_rows", 0.0)) for w in shadows} == {(0, 0.0)}


def test_a_client_that_hung_up_is_no_failure_of_the_version(prompts: PromptBench) -> None:
    write_hours(prompts.log, Traffic(), range(3))
    rows, _ = prompts.log.read()
    gone = {name: rows[name].to_pylist() for name in rows.column_names if name not in ("event_time", "logged_at")}
    later = 3 * MICROS["h"]
    for name in ("event_time", "logged_at"):
        gone[name] = [int(t.timestamp() * 1e6) + later for t in rows[name].to_pylist()]
    gone["prediction_id"] = [f"x{id_}" for id_ in gone["prediction_id"]]
    gone["error"] = ["client_gone"] * len(gone["error"])
    gone["entities"] = [None] * len(gone["error"])
    prompts.log.append(gone)
    prompts.watch().step()
    assert {w.metrics["error_rate"] for w in prompts.reports("closed")} == {0.0}


def test_new_processes_write_the_same_records(changed: PromptBench, prompts: PromptBench) -> None:
    usual = Traffic(seed=1)
    for start in range(0, HORIZON, 11):
        write_hours(prompts.log, usual, range(start, min(start + 11, HORIZON)))
        prompts.watch().step()
    for traffic, hours in (
        (Traffic(seed=2, new=0.3), range(HORIZON, HORIZON + 6)),
        (Traffic(seed=3, bad=0.6), range(HORIZON + 6, HORIZON + 14)),
    ):
        write_hours(prompts.log, traffic, hours)
        prompts.watch().step()
    assert content(prompts.book) == content(changed.book)


def test_a_new_process_reads_texts_from_where_they_are_needed(prompts: PromptBench) -> None:
    write_hours(prompts.log, Traffic(), range(30))
    prompts.watch().step()
    write_hours(prompts.log, Traffic(seed=5), range(30, 33))
    monitor = prompts.watch()
    monitor.step()
    assert monitor.texts_kept <= 3 * 40


def test_served_windows_make_a_reference_that_later_versions_are_compared_with() -> None:
    traffic = Traffic(seed=4)
    turns = [
        ReferenceTurn(
            numbers=traffic.numbers(), label=float(n % 10 == 0), at=hour * MICROS["h"] + n * MICROS["h"] // 20
        )
        for hour in range(30)
        for n in range(20)
    ]
    found = reference_of_windows(turns)
    assert found.made_of == "training"
    assert found.windows == 30
    assert all(each is not None and each.metrics["bad_rate"] == 0.1 for each in found.labelled)


def reference_of_windows(turns: list[ReferenceTurn]) -> Reference:
    return Reference.from_json(build_turn_reference(turns, window=MICROS["h"]).files[WINDOWS_FILE])
