"""What turns cost: exact integers, the dearest reading of contradictions, estimates, and bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.bundle.prompt_spec import EndpointSpec, PriceSpec, TargetSpec
from trimtab.errors import DataError
from trimtab.llm.completion import Usage
from trimtab.llm.money.turn_cost import CostMeter, cost_bound, cost_of, input_bound, price_at
from trimtab.llm.upstream.chat_parts import usage_of

PRICE = PriceSpec(input=150_000, output=600_000, cached=75_000, cache_write=187_500, reasoning=700_000)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKENS = st.integers(0, 10**6)


def endpoint(**changed: Any) -> EndpointSpec:
    return EndpointSpec(**{"name": "llm", "url": "http://127.0.0.1:1/v1", "prices": {"small": (PRICE,)}, **changed})


def target(**changed: Any) -> TargetSpec:
    return TargetSpec(endpoint=endpoint(**changed), model="small")


def test_inclusive_usage_has_cached_tokens_in_the_input() -> None:
    usage = Usage(input=1000, output=200, cached=600, cache_write=100, reasoning=150)
    found = cost_of(usage, PRICE, endpoint())
    assert found.cost == 300 * 150_000 + 600 * 75_000 + 100 * 187_500 + 50 * 600_000 + 150 * 700_000
    assert (found.usage.input, found.usage.output, found.contradiction) == (1000, 200, "")


def test_exclusive_usage_and_separate_reasoning_add_up() -> None:
    usage = Usage(input=300, output=50, cached=600, cache_write=100, reasoning=150)
    found = cost_of(usage, PRICE, endpoint(usage="exclusive", reasoning="separate"))
    assert found.cost == 300 * 150_000 + 600 * 75_000 + 100 * 187_500 + 50 * 600_000 + 150 * 700_000
    assert (found.usage.input, found.usage.output) == (1000, 200)


def test_parts_without_a_price_of_their_own_cost_as_their_whole() -> None:
    plain = PriceSpec(input=2, output=5)
    assert cost_of(Usage(input=10, output=4, cached=3, cache_write=2, reasoning=1), plain, endpoint()).cost == 40


@pytest.mark.parametrize(
    ("usage", "cost", "words"),
    [
        (Usage(input=100, output=0, cached=500), 500 * 150_000, "500 cached and written tokens of 100 input"),
        (Usage(input=100, output=0, cached=110), 100 * 150_000 + 110 * 75_000, "110 cached and written tokens of 100"),
        (Usage(input=0, output=10, reasoning=40), 10 * 600_000 + 40 * 700_000, "40 reasoning tokens of 10 output"),
        (Usage(input=10, output=5, total=100), 10 * 150_000 + 5 * 600_000 + 85 * 700_000, "100 tokens in all, but 10"),
    ],
)
def test_contradictions_count_at_the_dearest_reading_and_are_said(usage: Usage, cost: int, words: str) -> None:
    found = cost_of(usage, PRICE, endpoint())
    assert found.cost == cost
    assert words in found.contradiction


def test_reasoning_that_only_the_total_holds_is_no_contradiction_where_it_is_separate() -> None:
    found = cost_of(Usage(input=10, output=5, total=100), PRICE, endpoint(reasoning="separate"))
    assert (found.usage.reasoning, found.contradiction) == (85, "")


@given(st.builds(Usage, input=TOKENS, output=TOKENS, cached=TOKENS, cache_write=TOKENS, reasoning=TOKENS))
def test_no_reading_of_a_contradicting_report_costs_more_than_what_is_booked(usage: Usage) -> None:
    booked = cost_of(usage, PRICE, endpoint())
    shapes: list[dict[str, str]] = []
    if usage.cached + usage.cache_write > usage.input:
        shapes.append({"usage": "exclusive"})
    if usage.reasoning > usage.output:
        shapes.append({"reasoning": "separate"})
    assert bool(shapes) == bool(booked.contradiction)
    assert all(booked.cost >= cost_of(usage, PRICE, endpoint(**shape)).cost for shape in shapes)


def test_a_price_holds_from_its_date_on() -> None:
    old, new = PriceSpec(input=1, output=1), PriceSpec(input=2, output=2, since="2026-03-01")
    two = target(prices={"small": (old, new)})
    assert price_at(two, datetime(2026, 2, 28, 23, 59, tzinfo=UTC)) is old
    assert price_at(two, datetime(2026, 3, 1, tzinfo=UTC)) is new
    with pytest.raises(DataError, match="no price of 'small' holds on 2026-02-28; the first one is since 2026-03-01"):
        price_at(target(prices={"small": (new,)}), datetime(2026, 2, 28, tzinfo=UTC))
    with pytest.raises(DataError, match=r"endpoint 'llm' has no price of 'smal'\. Did you mean 'small'"):
        price_at(TargetSpec(endpoint=endpoint(), model="smal"), NOW)


def test_a_silent_turn_is_estimated_and_never_free() -> None:
    meter = CostMeter()
    first = meter.turn(target(), NOW, None, sent=300, received=30)
    assert first.usage.kind == "estimated"
    assert (first.usage.input, first.usage.output) == (100, 10)
    assert meter.turn(target(), NOW, None, sent=1, received=1).cost > 0
    for _ in range(100):
        meter.turn(target(), NOW, Usage(input=50, output=60, cached=20), sent=300, received=30)
    learned = meter.turn(target(), NOW, None, sent=600, received=30)
    assert (learned.usage.input, learned.usage.output) == (100, 60)  # hidden reasoning, too
    assert (
        meter.turn(
            TargetSpec(endpoint=endpoint(name="other"), model="small"), NOW, None, sent=3, received=0
        ).usage.input
        == 1
    )


def test_a_model_that_is_always_silent_is_estimated_by_what_others_of_its_endpoint_report() -> None:
    meter, silent = CostMeter(), TargetSpec(endpoint=endpoint(prices={"mute": (PRICE,)}), model="mute")
    for number in range(100):
        assert meter.turn(silent, NOW, None, sent=300, received=0).usage.input == 100, number
        meter.turn(target(), NOW, Usage(input=50, output=60), sent=300, received=30)
    assert meter.turn(silent, NOW, None, sent=600, received=30).usage.output == 60
    for _ in range(100):
        meter.turn(silent, NOW, Usage(input=10, output=1), sent=10, received=1)
    assert meter.turn(silent, NOW, None, sent=600, received=30).usage.input == 600


def test_a_part_that_is_not_reported_is_estimated() -> None:
    found = CostMeter().turn(target(), NOW, Usage(input=70, output=0), sent=300, received=30)
    assert (found.usage.kind, found.usage.input, found.usage.output) == ("estimated", 70, 10)
    assert found.contradiction == "no output tokens are reported"


def test_contradicting_reports_teach_nothing() -> None:
    meter = CostMeter()
    for _ in range(200):
        meter.turn(target(), NOW, Usage(input=1, output=1, cached=9), sent=300, received=300)
    assert meter.turn(target(), NOW, None, sent=300, received=0).usage.input == 100


def test_totals_of_reports_are_read() -> None:
    report = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 100}
    assert usage_of(report) == Usage(input=10, output=5, total=100)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS}), max_size=5), TEXTS)
def test_the_bound_holds_all_bytes(messages: list[dict[str, Any]], tool: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": tool}}]
    size = sum(len(each["content"].encode()) for each in messages)
    assert input_bound(messages) >= size + 16 * len(messages)
    assert input_bound(messages, tools) >= input_bound(messages) + 2 * len(tool.encode())
    assert input_bound(messages, schema={"title": tool}) >= input_bound(messages) + 2 * len(tool.encode())


def test_images_need_a_declared_bound() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, image, image]}]
    with pytest.raises(DataError, match=r"messages\[0\]: a part of type 'image_url' has no known bound"):
        input_bound(messages)
    assert 2000 < input_bound(messages, media=1000) < 2200


def test_a_bound_takes_the_dearest_prices_and_all_answers() -> None:
    assert cost_bound(target(), NOW, 100, 10, n=3) == 100 * 187_500 + 3 * 10 * 700_000
