"""Absolute limits pass when the interval keeps them, warn when the value alone does, and refuse otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from kit.judged import evaluation, inputs
from trimtab.gates.prompts.absolute_limits import (
    judge_cost,
    judge_first_token,
    judge_format,
    judge_safety,
    needed,
)
from trimtab.gates.prompts.prompt_gate_table import evaluate_prompt
from trimtab.gates.prompts.tags_and_items import judge_items, judge_tags
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.policy.llm.section_llm import PromptGates


@pytest.mark.parametrize(
    ("bad", "n", "verdict"), [(0, 300, "pass"), (0, 100, "warn"), (3, 300, "warn"), (4, 300, "fail")]
)
def test_safety_needs_as_many_answers_as_its_limit_asks_for(bad: int, n: int, verdict: str) -> None:
    fine = [0.0] * bad + [1.0] * (n - bad)
    (found,) = judge_safety(inputs(evaluation(fine, gate="safety")))
    assert found.verdict == verdict
    assert needed(0.01, 0.95) == 299
    if verdict == "warn":
        assert "299 items without one would show it" in found.reason


def test_answers_that_do_not_fit_the_schema_are_refused() -> None:
    found = {
        wrong: judge_format(inputs(evaluation(np.ones(200), format_ok=[False] * wrong + [True] * (200 - wrong))))[0]
        for wrong in (0, 4, 5)
    }
    assert [each.verdict for each in found.values()] == ["pass", "warn", "fail"]
    assert found[5].details["bad"] == [f"i{k}" for k in range(5)]
    assert judge_format(inputs(evaluation(np.ones(200)))) == ()


def test_repeats_are_not_taken_for_independent_answers() -> None:
    (one,) = judge_format(inputs(evaluation(np.ones(100), format_ok=np.ones((100, 1)))))
    (five,) = judge_format(inputs(evaluation(np.ones((100, 5)), format_ok=np.ones((100, 5)))))
    assert one.high == five.high


@pytest.mark.parametrize(
    ("slow", "n", "verdict"), [(0, 100, "pass"), (5, 100, "warn"), (6, 100, "fail"), (0, 20, "warn")]
)
def test_the_first_token_is_judged_by_its_95th_percentile(slow: int, n: int, verdict: str) -> None:
    answers = [Answer(first_token_ms=4000.0)] * slow + [Answer(first_token_ms=100.0 + k) for k in range(n - slow)]
    (found,) = judge_first_token(inputs(evaluation(np.ones(n), answers=answers)))
    assert found.verdict == verdict
    assert found.threshold == 3000.0


def test_the_bounds_of_the_95th_percentile_miss_rarely() -> None:
    chance, runs, misses = np.random.default_rng(3), 150, 0
    for _ in range(runs):
        times = chance.exponential(1.0, 200)
        answers = [Answer(first_token_ms=float(each)) for each in times]
        (found,) = judge_first_token(inputs(evaluation(np.ones(200), answers=answers)))
        assert found.high is not None
        misses += found.high < -np.log(0.05)
    assert misses / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_a_turn_that_costs_too_much_is_refused_and_estimates_are_named() -> None:
    dear = [Answer(cost_pico=20_000_000_000, usage="estimated")] * 60
    (found,) = judge_cost(inputs(evaluation(np.ones(60), answers=dear)))
    assert found.verdict == "fail"
    assert found.value == pytest.approx(0.02)
    assert "60 of 60 by estimated tokens" in found.reason
    (found,) = judge_cost(inputs(evaluation(np.ones(60), answers=[Answer(cost_pico=1_000_000)] * 60)))
    assert found.verdict == "pass"


def test_a_tag_that_got_worse_refuses_while_the_mean_passes() -> None:
    tags = [{"lang": "de"} if k < 30 else {"lang": "fr"} if k < 40 else {"lang": "en"} for k in range(400)]
    champion = np.ones(400)
    candidate = np.ones(400)
    candidate[:12] = 0.0
    candidate[30:40] = 0.0
    (found,) = judge_tags(inputs(evaluation(candidate, champion, tags=tags)))
    assert found.verdict == "fail"
    assert "worse in lang de (-40.0 points on 30 items" in found.reason
    assert "fr" not in found.reason  # ten items are shown and refuse nothing
    assert [(each["tag"], each["n"], each["p"] is None) for each in found.details["tags"]] == [
        ("lang=de", 30, False),
        ("lang=en", 360, False),
        ("lang=fr", 10, True),
    ]
    (found,) = judge_tags(inputs(evaluation(champion, champion, tags=tags)))
    assert found.verdict == "pass"


def test_a_tag_whose_repeats_all_got_worse_is_found_though_nothing_spreads() -> None:
    tags = [{"lang": "de"} if k < 30 else {"lang": "en"} for k in range(100)]
    champion, candidate = np.ones((100, 3)), np.ones((100, 3))
    candidate[:30] = 0.0
    (found,) = judge_tags(inputs(evaluation(candidate, champion, tags=tags)))
    assert found.verdict == "fail"


def test_a_single_item_may_have_a_bar_of_its_own() -> None:
    scores = np.ones((60, 4))
    scores[7, :2] = 0.0
    found = evaluation(scores, np.ones((60, 4)))
    assert judge_items(inputs(found)) == ()
    (refused,) = judge_items(inputs(found, gates=PromptGates(item_pass=0.75)))
    assert refused.verdict == "fail"
    assert "1 of 60 items pass less than 75%: tickets.jsonl:8 (50%)" in refused.reason


def test_all_gates_judge_one_evaluation() -> None:
    fine = np.ones(400)
    tags = [{"lang": "de"}] * 400
    found = evaluate_prompt(inputs(evaluation(fine, fine, tags=tags, format_ok=fine)))
    assert [each.gate for each in found] == ["quality", "format", "first_token", "cost", "tags"]
    assert {each.verdict for each in found} == {"pass"}
