"""The evaluators that come with Trimtab: what passes, what does not, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trimtab as tt
from trimtab.errors import DataError, DefinitionError


def turn(text: str = "", **changes: Any) -> tt.Turn:
    return tt.Turn(messages=[{"role": "user", "content": "x"}], text=text, **changes)


def item(expected: Any) -> tt.Item:
    return tt.Item(id="1", inputs={}, expected=expected)


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


CASES: list[tuple[tt.Evaluator, tt.Turn, Any, bool | None, str]] = [
    (tt.exact(), turn(" billing\n"), "billing", True, ""),
    (tt.exact(), turn("Billing"), "billing", False, "'Billing', expected 'billing'"),
    (tt.exact(ignore_case=True), turn("Billing"), "billing", True, ""),
    (tt.exact(), turn("42"), 42, True, ""),
    (tt.exact(), turn("1"), True, False, "1, expected True"),
    (tt.exact(), turn('{"a": [1]}'), {"a": [1]}, True, ""),
    (tt.exact(), turn("{a"), {"a": 1}, False, "is no JSON: '{a'"),
    (tt.exact(field="queue"), turn("", parsed={"queue": "a"}), "a", True, ""),
    (tt.exact(field="queue"), turn("", parsed={"other": "a"}), "a", False, "has no field 'queue'"),
    (tt.exact(field="queue"), turn("no", format_ok=False), "a", False, "does not fit the schema: 'no'"),
    (tt.contains("a", "B"), turn("b a"), None, False, "lacks 'B'"),
    (tt.contains("a", "B", ignore_case=True), turn("b a"), None, True, ""),
    (tt.contains(), turn("x y"), ["x", "z"], False, "lacks 'z'"),
    (tt.regex("^[a-z]+$"), turn("abc"), None, True, ""),
    (tt.regex("^[a-z]+$"), turn("a1"), None, False, "does not match ^[a-z]+$"),
    (tt.json_schema(), turn("x"), None, True, ""),
    (tt.json_schema(), turn("x", format_ok=False), None, False, "does not fit the schema: 'x'"),
    (tt.close_to(absolute=0.5), turn("It is 3.4."), 3, True, ""),
    (tt.close_to(absolute=0.3), turn("3.4"), "3", False, "3.4, expected 3"),
    (tt.close_to(relative=0.1), turn("-1,100"), -1000, True, ""),
    (tt.close_to(), turn("2 or 3"), 2, False, "holds 2 numbers: '2 or 3'"),
    (tt.close_to(), turn("none"), 2, False, "holds no number: 'none'"),
    (tt.close_to(field="n"), turn("", parsed={"n": 2}), 2, True, ""),
    (tt.similar(0.5), turn("the cat sat"), "a cat sat down", True, "F1 of words 0.57"),
    (tt.similar(0.6), turn("the cat sat"), "a cat sat down", False, "F1 of words 0.57"),
    (tt.no_pii(), turn("x", personal_data=[]), None, True, ""),
    (tt.no_pii(), turn("x", personal_data=["iban", "email", "iban"]), None, False, "email, iban"),
    (tt.no_pii(), turn("x"), None, None, "the answer was not searched for personal data"),
    (tt.tool_calls(), turn(tool_calls=[call("a", "{}")]), [{"name": "a"}], True, ""),
    (tt.tool_calls(), turn(), [], True, ""),
    (tt.tool_calls(), turn(), [{"name": "a"}], False, "called nothing, expected a()"),
    (
        tt.tool_calls(),
        turn(tool_calls=[call("a", '{"x": 2}')]),
        [{"name": "a", "arguments": {"x": 1}}],
        False,
        'called a({"x": 2}), expected a({"x": 1})',
    ),
    (
        tt.tool_calls(),
        turn(tool_calls=[call("a", '{"x": 1}'), call("a", '{"x": 2}')]),
        [{"name": "a"}, {"name": "a", "arguments": {"x": 1}}],
        True,
        "",
    ),
    (
        tt.tool_calls(order=True),
        turn(tool_calls=[call("b", "{}"), call("a", "{}")]),
        [call("a", "{}"), call("b", "{}")],
        False,
        "called b({}), a({}), expected a({}), b({})",
    ),
    (tt.latency(), turn(latency_ms=9e9), None, True, "9000000000 ms"),
    (tt.latency(max="1s"), turn(latency_ms=1000.1), None, False, "1000 ms"),
    (tt.cost(), turn(cost=5.0), None, True, "5"),
    (tt.cost(max=0.01), turn(cost=0.02), None, False, "0.02"),
]


@pytest.mark.parametrize(("evaluator", "given_", "expected", "passes", "reason"), CASES)
def test_an_answer_passes_or_the_reason_says_why_not(
    evaluator: tt.Evaluator, given_: tt.Turn, expected: Any, passes: bool | None, reason: str
) -> None:
    score = evaluator.score(given_, None if expected is None else item(expected))
    assert (score.value, score.reason) == (passes, reason)


def test_words_of_a_list_count_as_whole_words_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("# names of rivals\n\nAcme\nbest price\n")
    source = "import trimtab as tt\nnone = tt.word_list('blocked.txt')\none = tt.word_list('blocked.txt', max=1)\n"
    names: dict[str, Any] = {}
    exec(compile(source, str(tmp_path / "definitions.py"), "exec"), names)
    assert names["none"].score(turn("We beat ACME at the Best Price")) == tt.Score(
        False, "2 of the list: 'acme', 'best price'"
    )
    assert names["one"].score(turn("acme, acmes")).value is True
    before = names["none"].version
    (tmp_path / "blocked.txt").write_text("acmes\n")
    assert names["none"].score(turn("acme")).value is True
    assert names["none"].version != before
    (tmp_path / "blocked.txt").unlink()
    with pytest.raises(DataError, match=r"blocked\.txt: the list of words cannot be read"):
        names["none"].score(turn("acme"))


@pytest.mark.parametrize("evaluator", [tt.exact(), tt.contains(), tt.close_to(), tt.similar(), tt.tool_calls()])
def test_what_needs_the_expected_answer_says_so_without_it(evaluator: tt.Evaluator) -> None:
    assert evaluator.needs_expected
    with pytest.raises(DataError, match="needs the expected answer, and a live turn has none"):
        evaluator.score(turn("x"))


def test_another_argument_is_another_version() -> None:
    made = [tt.exact(), tt.exact(field="a"), tt.exact(ignore_case=True), tt.similar(0.8), tt.similar(0.9)]
    assert len({each.version for each in made}) == len(made)
    assert tt.contains("a", "b").version == tt.contains("a", "b", name="other").version


def test_a_verdict_of_another_kind_is_refused() -> None:
    @tt.evaluator(gate="safety", needs_expected=True)
    def harmless(turn: tt.Turn, item: tt.Item | None) -> Any:
        return turn.text

    assert (harmless.name, harmless.gate, harmless.needs_expected) == ("harmless", "safety", True)
    with pytest.raises(DefinitionError, match="Evaluator 'harmless' returned 'x'; expected True or False, a number"):
        harmless.score(turn("x"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tt.regex("("), "'(' is no regular expression"),
        (lambda: tt.close_to(absolute=-1), "absolute is -1; expected a number from 0 on"),
        (lambda: tt.similar(2), "minimum is 2; expected a number from 0 to 1"),
        (lambda: tt.word_list("a.txt", max=-1), "max is -1; expected a whole number from 0 on"),
        (lambda: tt.latency(max="10"), "Evaluator 'latency': max: '10' is not a duration: it has no unit"),
        (lambda: tt.cost(max=-1), "max is -1; expected a number from 0 on"),
        (lambda: tt.exact(field=""), "field is ''; expected text"),
        (lambda: tt.contains(""), "one of its texts is ''; expected text"),
        (lambda: tt.exact(name="a b"), "Evaluator name 'a b' is not valid"),
    ],
)
def test_a_wrong_argument_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        make()
    assert said in str(refused.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_likeness_of_words_is_symmetric_and_whole_for_equal_texts(a: str, b: str) -> None:
    def reason(answer: str, expected: str) -> str:
        return tt.similar(0.0).score(turn(answer), item(expected)).reason

    assert reason(a, b) == reason(b, a)
    assert reason(a, a) == "F1 of words 1.00"
