"""An evaluation asks both versions about the same items, pays once for each answer, and says what evaluators said."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trimtab.bundle.prompt_spec import EndpointSpec, TargetSpec
from trimtab.definitions.llm.answer_checks import exact
from trimtab.definitions.llm.evaluators import Evaluator, Item, Judge, Score
from trimtab.definitions.llm.model_endpoints import Endpoint
from trimtab.errors import DefinitionError
from trimtab.llm.answer_format import AnswerSchema
from trimtab.llm.evaluate.answer_cache import KEEP_S, Answer
from trimtab.llm.evaluate.items import ItemSet
from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation, Side, read_evaluation
from trimtab.llm.evaluate.runner import Contestant, Course, Part, Request, Runner

TARGET = TargetSpec(endpoint=EndpointSpec(name="local", url="loopback"), model="small")
JUDGE = Judge("kind", endpoint=Endpoint("local", url="loopback"), model="judge", rubric="The answer is kind.")
Reply = Callable[[str, str], str]
"""Takes a version and what the user said, and returns the answer."""


class Bought:
    """Answers by a function of version and user message; counts what is asked."""

    def __init__(self, reply: Reply, *, fail_after: int | None = None) -> None:
        self.reply, self.fail_after = reply, fail_after
        self.asked = Counter[tuple[str, str]]()
        self.order: list[tuple[str, str]] = []

    async def __call__(self, target: TargetSpec, body: Mapping[str, Any], *, purpose: str) -> Answer:
        version, said = str(body["model"]), str(body["messages"][-1]["content"])
        if self.fail_after is not None and self.asked.total() >= self.fail_after:
            raise ConnectionError("the endpoint is down")
        self.asked[version, said if purpose == "eval" else purpose] += 1
        self.order.append((version, said))
        await asyncio.sleep(0)
        text = self.reply(version, said)
        error = "400: context_length_exceeded" if text == "too long" else ""
        return Answer(text="" if error else text, cost_pico=1_000, error=error)


def items(n: int = 40) -> ItemSet:
    made = tuple(
        Item(id=f"i{k}", inputs={"q": f"q{k}"}, expected=f"a{k}", tags={"lang": "en" if k % 2 else "de"})
        for k in range(n)
    )
    return ItemSet(name="sums", items=made, places=tuple(f"sums.jsonl:{k + 1}" for k in range(n)), repeated=0, hash="h")


def contestant(name: str, schema: Mapping[str, Any] | None = None) -> Contestant:
    return Contestant(
        side=Side(name=name, prompt_hash=name, endpoint="local", model="small"),
        target=TARGET,
        request=lambda item, place: Request(
            {"model": name, "messages": [{"role": "user", "content": item.inputs["q"]}]}
        ),
        schema=None if schema is None else AnswerSchema(schema),
        key=name,
    )


def runner(
    folder: Path,
    buy: Bought,
    *evaluators: Evaluator | Judge,
    sides: tuple[str, ...] = ("new", "old"),
    now: float = 1e9,
    schema: Mapping[str, Any] | None = None,
    **course: Any,
) -> Runner:
    chosen = evaluators or (exact(),)
    return Runner(
        prompt="sums",
        quality=chosen[0].name,
        sides=[contestant(name, schema) for name in sides],
        parts=[Part(items=items(), version="sums/h", evaluators=chosen)],
        judges={each.name: TARGET for each in chosen if isinstance(each, Judge)},
        buy=buy,
        cache=folder / "answers",
        project=folder,
        now=lambda: now,
        course=Course(**{"repeats": 1, "max_repeats": 1, "concurrent": 4, **course}),
    )


def run(given: Runner) -> Evaluation:
    return asyncio.run(given.run())


def right(version: str, said: str) -> str:
    return f"a{said[1:]}"


def half_right(version: str, said: str) -> str:
    return right(version, said) if version == "old" or int(said[1:]) % 2 else "no"


def test_both_versions_are_asked_about_the_same_items_in_one_random_order(tmp_path: Path) -> None:
    buy = Bought(half_right)
    found = run(runner(tmp_path, buy))
    assert len(buy.asked) == 80
    assert set(buy.asked.values()) == {1}
    assert found.scores("exact", CHAMPION).mean() == 1.0
    assert found.scores("exact", CANDIDATE).mean() == 0.5
    pairs = [buy.order[k : k + 2] for k in range(0, 80, 2)]
    apart = sum({version for version, _ in pair} == {"new", "old"} for pair in pairs)
    assert apart == 40  # one item's two sides follow one another
    assert [said for _, said in buy.order] != sorted(said for _, said in buy.order)
    assert {pair[0][0] for pair in pairs} == {"new", "old"}


def test_what_was_bought_is_not_bought_again_unless_it_is_old_or_asked_for(tmp_path: Path) -> None:
    first = run(runner(tmp_path, Bought(right)))
    assert (first.facts.bought, first.facts.cached, first.facts.cost_pico) == (80, 0, 80_000)
    again = run(runner(tmp_path, Bought(right)))
    assert (again.facts.bought, again.facts.cached, again.facts.cost_pico) == (0, 80, 0)
    assert run(runner(tmp_path, Bought(right), fresh=True)).facts.bought == 80
    assert run(runner(tmp_path, Bought(right), now=1e9 + KEEP_S + 1)).facts.bought == 80


def test_a_repeat_never_comes_from_another_repeat(tmp_path: Path) -> None:
    run(runner(tmp_path, Bought(right)))
    buy = Bought(right)
    found = run(runner(tmp_path, buy, repeats=3, max_repeats=3))
    assert set(buy.asked.values()) == {2}  # the first of three was there
    assert found.scores("exact", CANDIDATE).shape == (40, 3)


def test_an_evaluation_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        run(runner(tmp_path, Bought(right, fail_after=50)))
    rest = Bought(right)
    run(runner(tmp_path, rest))
    assert rest.asked.total() == 30


def test_a_line_that_a_dying_process_cut_off_costs_one_answer(tmp_path: Path) -> None:
    run(runner(tmp_path, Bought(right)))
    path = tmp_path / "answers" / "new.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    rest = Bought(right)
    run(runner(tmp_path, rest))
    assert rest.asked.total() == 1


def test_answers_that_do_not_differ_from_run_to_run_are_asked_for_once(tmp_path: Path) -> None:
    buy = Bought(half_right)
    found = run(runner(tmp_path, buy, max_repeats=5))
    assert found.facts.repeats == 1
    assert Counter(buy.asked.values()) == {2: 60, 1: 20}  # 30 items twice on both sides


def test_flaky_answers_are_asked_for_more_often(tmp_path: Path) -> None:
    turn = Counter[str]()

    def flaky(version: str, said: str) -> str:
        turn[version + said] += 1
        return right(version, said) if turn[version + said] % 2 else "no"

    told: list[str] = []
    given = runner(tmp_path, Bought(flaky), max_repeats=4)
    given.tell = told.append
    found = run(given)
    assert found.facts.repeats == 4
    assert "each item is answered 4 times" in told[0]
    assert found.scores("exact", CANDIDATE).mean() == 0.5


def test_a_judge_that_says_no_verdict_is_counted_and_equal_answers_are_judged_once(tmp_path: Path) -> None:
    def judged(version: str, said: str) -> str:
        if not said.startswith("<conv"):
            return "same"
        return "pass, surely!" if '"q1"' in said else '{"verdict": "pass", "reason": "kind"}'

    buy = Bought(judged)
    found = run(runner(tmp_path, buy, JUDGE))
    assert buy.asked["judge", "judge"] == 40  # both sides gave the same answer
    assert (found.facts.bought, found.facts.verdicts_bought, found.facts.verdicts_cached) == (120, 40, 0)
    again = run(runner(tmp_path, buy, JUDGE)).facts
    assert (again.bought, again.verdicts_bought, again.cached, again.verdicts_cached) == (0, 0, 120, 40)
    marks = {item.id: item.marks["kind"][CANDIDATE][0] for item in found.items}
    assert marks["i1"].value is None
    assert "no verdict" in marks["i1"].reason
    assert marks["i2"].value == 1.0


def test_what_an_endpoint_refuses_for_its_content_fails_and_is_not_judged(tmp_path: Path) -> None:
    found = run(runner(tmp_path, Bought(lambda version, said: "too long"), JUDGE, exact()))
    assert found.scores("kind", CANDIDATE).max() == 0.0
    assert not found.items[0].format_ok[CANDIDATE][0]
    assert "context_length_exceeded" in found.items[0].marks["exact"][CANDIDATE][0].reason


def test_answers_are_parsed_by_the_schema_before_evaluators_see_them(tmp_path: Path) -> None:
    queue = Evaluator("queue", lambda turn, item: turn.parsed == {"queue": "billing"})

    def reply(version: str, said: str) -> str:
        return '{"queue": "billing"}' if version == "new" else "billing"

    schema = {"type": "object", "properties": {"queue": {"type": "string"}}}
    found = run(runner(tmp_path, Bought(reply), queue, schema=schema))
    assert found.scores("queue", CANDIDATE).mean() == 1.0
    assert found.scores("queue", CHAMPION).mean() == 0.0
    assert not any(item.format_ok[CHAMPION][0] for item in found.items)


def test_an_evaluator_that_fails_is_named_with_its_item(tmp_path: Path) -> None:
    def broken(turn: Any, item: Any) -> float:
        return 1 / 0

    with pytest.raises(DefinitionError, match=r"evaluator 'broken' failed on the item of sums.jsonl:1: ZeroDivision"):
        run(runner(tmp_path, Bought(right), Evaluator("broken", broken)))


def test_scores_are_told_from_verdicts_and_the_files_give_the_evaluation_back(tmp_path: Path) -> None:
    length = Evaluator("length", lambda turn, item: Score(min(len(turn.text) / 10, 1.0), "length"))
    found = run(runner(tmp_path, Bought(right), exact(), length))
    assert {each.name: each.kind for each in found.facts.evaluators} == {"exact": "pass_fail", "length": "score"}
    folder = tmp_path / "kept"
    folder.mkdir()
    found.write(folder)
    assert read_evaluation(folder) == found
