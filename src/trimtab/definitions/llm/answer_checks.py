"""Evaluators that come with Trimtab: the answer is compared with the expected one, or looked through by rules.

All arithmetic is exact and needs no model: the same answer gives the same verdict on examples and on live turns.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from trimtab import places
from trimtab.definitions.arguments import check_text, optional_duration
from trimtab.definitions.llm.evaluators import Evaluator, Gate, Item, Score, Turn
from trimtab.definitions.llm.model_endpoints import is_number
from trimtab.errors import DataError, DefinitionError

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def exact(*, field: str | None = None, ignore_case: bool = False, name: str = "exact") -> Evaluator:
    """Compare the answer with the expected one. White space around both does not count.

    An expected value that is no text, such as a number or an object, is compared with the answer read as JSON.

    Args:
        field: compare this field of the answer, which has an output schema; None: the whole answer.
        ignore_case: whether upper and lower case are equal.
        name: in reports.

    Returns:
        The evaluator.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> turn = tt.Turn(messages=[], text='{"queue": "billing"}', parsed={"queue": "billing"})
    >>> tt.exact(field="queue").score(turn, tt.Item(id="1", inputs={}, expected="refunds"))
    Score(value=False, reason="'billing', expected 'refunds'")
    """
    _check_field(name, field)

    def judge(turn: Turn, item: Item | None) -> Score:
        wanted = _expected(name, item)
        given, problem = _answer(turn, field, as_json=not isinstance(wanted, str))
        if problem:
            return Score(False, problem)
        if isinstance(given, str) and isinstance(wanted, str):
            given, wanted = given.strip(), wanted.strip()
            if ignore_case:
                given, wanted = given.casefold(), wanted.casefold()
        same = given == wanted and isinstance(given, bool) == isinstance(wanted, bool)
        return Score(same, "" if same else f"{_short(given)}, expected {_short(wanted)}")

    return _made(name, judge, "quality", f"exact({field!r}, {ignore_case!r})", needs_expected=True)


def contains(*texts: str, ignore_case: bool = False, name: str = "contains") -> Evaluator:
    """Look for texts in the answer: all of them must be there.

    Args:
        texts: what must be in it; none: the expected answer of the example, a text or a list of texts.
        ignore_case: whether upper and lower case are equal.
        name: in reports.

    Returns:
        The evaluator.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> tt.contains("order number", ignore_case=True).score(tt.Turn(messages=[], text="Which Order number?")).value
    True
    """
    for text in texts:
        check_text(f"Evaluator '{name}': one of its texts", text, "order number")

    def judge(turn: Turn, item: Item | None) -> Score:
        wanted: Any = texts or _expected(name, item)
        wanted = (wanted,) if isinstance(wanted, str) else tuple(map(str, wanted))
        text = turn.text.casefold() if ignore_case else turn.text
        lacks = [each for each in wanted if (each.casefold() if ignore_case else each) not in text]
        return Score(not lacks, f"lacks {', '.join(map(_short, lacks))}" if lacks else "")

    return _made(name, judge, "quality", f"contains({texts!r}, {ignore_case!r})", needs_expected=not texts)


def regex(pattern: str, *, name: str = "regex") -> Evaluator:
    """Search the answer for a regular expression of Python's `re`.

    Args:
        pattern: the expression; it may match anywhere, so use ^ and $ for the whole answer.
        name: in reports.

    Returns:
        The evaluator.

    Raises:
        DefinitionError: the expression is wrong.

    >>> import trimtab as tt
    >>> tt.regex(r"^[A-Z]{2}-[0-9]+$").score(tt.Turn(messages=[], text="DE-4711")).value
    True
    """
    check_text(f"Evaluator '{name}': pattern", pattern, "^[A-Z]+$")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DefinitionError(f"Evaluator '{name}': '{pattern}' is no regular expression: {error}") from None

    def judge(turn: Turn, item: Item | None) -> Score:
        found = compiled.search(turn.text) is not None
        return Score(found, "" if found else f"does not match {pattern}")

    return _made(name, judge, "quality", f"regex({pattern!r})")


def json_schema(*, name: str = "json_schema") -> Evaluator:
    """Check that the answer fits the output schema of the prompt; without one every answer fits.

    Args:
        name: in reports.

    Returns:
        The evaluator, for the gate `format`.

    >>> import trimtab as tt
    >>> tt.json_schema().score(tt.Turn(messages=[], text="billing", format_ok=False)).value
    False
    """

    def judge(turn: Turn, item: Item | None) -> Score:
        return Score(turn.format_ok, "" if turn.format_ok else f"does not fit the schema: {_short(turn.text)}")

    return _made(name, judge, "format", "json_schema()")


def close_to(
    *, absolute: float = 0.0, relative: float = 0.0, field: str | None = None, name: str = "close_to"
) -> Evaluator:
    """Compare the number in the answer with the expected number.

    It passes when |answer - expected| is at most the greater of `absolute` and `relative` times |expected|. An answer
    of words must hold exactly one number.

    Args:
        absolute: largest distance.
        relative: largest distance as a share of the expected number.
        field: compare this field of the answer, which has an output schema; None: the whole answer.
        name: in reports.

    Returns:
        The evaluator.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> item = tt.Item(id="1", inputs={}, expected=1200)
    >>> tt.close_to(relative=0.01).score(tt.Turn(messages=[], text="About 1,195 euros."), item).value
    True
    """
    _check_field(name, field)
    for argument, value in (("absolute", absolute), ("relative", relative)):
        if not is_number(value) or value < 0:
            raise DefinitionError(f"Evaluator '{name}': {argument} is {value!r}; expected a number from 0 on")

    def judge(turn: Turn, item: Item | None) -> Score:
        expected = _expected(name, item)
        wanted, problem = _number(expected)
        if problem:
            raise DataError(f"Evaluator '{name}': the expected answer {expected!r} is no number")
        given, problem = _answer(turn, field, as_json=False)
        if not problem:
            given, problem = _number(given)
        if problem:
            return Score(False, problem)
        close = abs(given - wanted) <= max(absolute, relative * abs(wanted))
        return Score(close, "" if close else f"{given:g}, expected {wanted:g}")

    return _made(name, judge, "quality", f"close_to({absolute!r}, {relative!r}, {field!r})", needs_expected=True)


def similar(minimum: float = 0.8, *, field: str | None = None, name: str = "similar") -> Evaluator:
    """Compare the words of the answer with those of the expected one, by their F1 score.

    F1 is 2 x shared / (words of both), each word as often as it is there, in lower case (Rajpurkar et al. 2016,
    "SQuAD", arXiv 1606.05250). The order of words does not count, nor does their meaning.

    Args:
        minimum: smallest F1 that passes, from 0 to 1.
        field: compare this field of the answer, which has an output schema; None: the whole answer.
        name: in reports.

    Returns:
        The evaluator.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> item = tt.Item(id="1", inputs={}, expected="Restart the router")
    >>> tt.similar().score(tt.Turn(messages=[], text="Please restart the router."), item)
    Score(value=True, reason='F1 of words 0.86')
    """
    _check_field(name, field)
    if not is_number(minimum) or not 0 <= minimum <= 1:
        raise DefinitionError(f"Evaluator '{name}': minimum is {minimum!r}; expected a number from 0 to 1")

    def judge(turn: Turn, item: Item | None) -> Score:
        wanted = _words(str(_expected(name, item)))
        given, problem = _answer(turn, field, as_json=False)
        if problem:
            return Score(False, problem)
        words = _words(str(given))
        both = wanted.total() + words.total()
        f1 = 2 * (wanted & words).total() / both if both else 1.0
        return Score(f1 >= minimum, f"F1 of words {f1:.2f}")

    return _made(name, judge, "quality", f"similar({minimum!r}, {field!r})", needs_expected=True)


def word_list(file: str, *, max: int = 0, name: str = "word_list") -> Evaluator:
    """Look for words of a list in the answer, which must not be there. Upper and lower case are equal.

    Args:
        file: text file with a word or phrase a line; lines that begin with # do not count. Its path is relative to the
            file that calls this function.
        max: so many finds still pass.
        name: in reports.

    Returns:
        The evaluator, for the gate `safety`.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> tt.word_list("words/blocked.txt").gate
    'safety'
    """
    check_text(f"Evaluator '{name}': file", file, "words/blocked.txt")
    if not isinstance(max, int) or isinstance(max, bool) or max < 0:
        raise DefinitionError(f"Evaluator '{name}': max is {max!r}; expected a whole number from 0 on")
    path = places.folder_of_caller() / file

    def judge(turn: Turn, item: Item | None) -> Score:
        found = [each.casefold() for each in _listed(path, _stamp(path)).findall(turn.text)]
        words = ", ".join(map(_short, sorted(set(found))))
        return Score(len(found) <= max, f"{len(found)} of the list: {words}" if found else "")

    return _made(name, judge, "safety", f"word_list({max!r})", file=path)


def no_pii(*, name: str = "no_pii") -> Evaluator:
    """Check that the answer holds no personal data and no secret, by the detectors of `llm.redact` in the policy.

    Args:
        name: in reports.

    Returns:
        The evaluator, for the gate `safety`.

    >>> import trimtab as tt
    >>> tt.no_pii().score(tt.Turn(messages=[], text="Write to ann@example.org", personal_data=["email"]))
    Score(value=False, reason='email')
    """

    def judge(turn: Turn, item: Item | None) -> Score:
        if turn.personal_data is None:
            return Score(None, "the answer was not searched for personal data")
        return Score(not turn.personal_data, ", ".join(sorted(set(turn.personal_data))))

    return _made(name, judge, "safety", "no_pii()")


def tool_calls(*, order: bool = False, name: str = "tool_calls") -> Evaluator:
    """Compare the tool calls of the answer with the expected ones: names and arguments.

    The expected answer is a list of {"name": ..., "arguments": {...}}, or of calls in OpenAI's shape; an empty list
    expects no call. A call without "arguments" is compared by its name.

    Args:
        order: whether the order counts.
        name: in reports.

    Returns:
        The evaluator.

    >>> import trimtab as tt
    >>> called = {"function": {"name": "refund", "arguments": '{"order": 7}'}}
    >>> item = tt.Item(id="1", inputs={}, expected=[{"name": "refund", "arguments": {"order": 7}}])
    >>> tt.tool_calls().score(tt.Turn(messages=[], text="", tool_calls=[called]), item).value
    True
    """

    def judge(turn: Turn, item: Item | None) -> Score:
        expected = _expected(name, item)
        if not isinstance(expected, list | tuple) or not all(isinstance(each, Mapping) for each in expected):
            raise DataError(
                f"Evaluator '{name}': the expected answer is {expected!r}; expected a list such as "
                '[{"name": "refund", "arguments": {"order": 7}}]'
            )
        wanted, given = [_call(each) for each in expected], [_call(each) for each in turn.tool_calls]
        same = len(wanted) == len(given) and (all(map(_fits, wanted, given)) if order else _paired(wanted, given))
        return Score(same, "" if same else f"called {_calls(given)}, expected {_calls(wanted)}")

    return _made(name, judge, "quality", f"tool_calls({order!r})", needs_expected=True)


def latency(*, max: str | None = None, name: str = "latency") -> Evaluator:
    """Check how long the whole answer took.

    The gate `first_token` tests the 95th percentile of the time to the first token over all turns by itself; this
    evaluator adds the times to reports, and a limit for each turn where `max` is given.

    Args:
        max: longest time of one answer, such as "10s"; None: any.
        name: in reports.

    Returns:
        The evaluator, for the gate `first_token`.

    Raises:
        DefinitionError: `max` is no duration.

    >>> import trimtab as tt
    >>> tt.latency(max="2s").score(tt.Turn(messages=[], text="Hello", latency_ms=2400.0))
    Score(value=False, reason='2400 ms')
    """
    longest = optional_duration(f"Evaluator '{name}': max", max)

    def judge(turn: Turn, item: Item | None) -> Score:
        return Score(longest is None or turn.latency_ms * 1000 <= longest, f"{turn.latency_ms:.0f} ms")

    return _made(name, judge, "first_token", f"latency({max!r})")


def cost(*, max: float | None = None, name: str = "cost") -> Evaluator:
    """Check what a turn cost.

    The gate `cost` tests the mean over all turns by itself; this evaluator adds the costs to reports, and a limit for
    each turn where `max` is given.

    Args:
        max: most that one turn may cost, in the currency of `impact`; None: anything.
        name: in reports.

    Returns:
        The evaluator, for the gate `cost`.

    Raises:
        DefinitionError: `max` is no number.

    >>> import trimtab as tt
    >>> tt.cost(max=0.01).score(tt.Turn(messages=[], text="Hello", cost=0.002)).value
    True
    """
    if max is not None and (not is_number(max) or max < 0):
        raise DefinitionError(f"Evaluator '{name}': max is {max!r}; expected a number from 0 on")

    def judge(turn: Turn, item: Item | None) -> Score:
        return Score(max is None or turn.cost <= max, f"{turn.cost:g}")

    return _made(name, judge, "cost", f"cost({max!r})")


def _made(
    name: str,
    judge: Callable[[Turn, Item | None], Score],
    gate: Gate,
    source: str,
    *,
    needs_expected: bool = False,
    file: Path | None = None,
) -> Evaluator:
    return Evaluator(name, judge, gate=gate, needs_expected=needs_expected, source=source, file=file)


def _check_field(name: str, field: str | None) -> None:
    if field is not None:
        check_text(f"Evaluator '{name}': field", field, "queue")


def _expected(name: str, item: Item | None) -> Any:
    """Return the expected answer of an example. Raises DataError where there is none."""
    if item is None or item.expected is None:
        which = "a live turn" if item is None else f"item {item.id}"
        raise DataError(f"Evaluator '{name}' needs the expected answer, and {which} has none")
    return item.expected


def _answer(turn: Turn, field: str | None, *, as_json: bool) -> tuple[Any, str]:
    """Return the answer or one of its fields, and what is wrong with it, if anything is."""
    if field is not None:
        if not isinstance(turn.parsed, Mapping):
            return None, f"does not fit the schema: {_short(turn.text)}"
        return (turn.parsed[field], "") if field in turn.parsed else (None, f"has no field '{field}'")
    if not as_json:
        return turn.text, ""
    if turn.parsed is not None:
        return turn.parsed, ""
    try:
        return json.loads(turn.text), ""
    except ValueError:
        return None, f"is no JSON: {_short(turn.text)}"


def _number(value: Any) -> tuple[float, str]:
    """Return the number that a value is or that a text holds, and what is wrong with it, if anything is."""
    if is_number(value):
        return float(value), ""
    found = [each for each in _NUMBER.findall(str(value)) if any(c.isdigit() for c in each)]
    if len(found) != 1:
        return math.nan, f"holds {'no number' if not found else f'{len(found)} numbers'}: {_short(value)}"
    return float(found[0].replace(",", "")), ""


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.casefold()))


def _stamp(path: Path) -> int:
    """Return when a file was changed last, in nanoseconds. Raises DataError if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"{path}: the list of words cannot be read: {error.strerror}") from None


@cache
def _listed(path: Path, stamp: int) -> re.Pattern[str]:
    """Return an expression that finds the words of a file. stamp: when it was changed, so that it is read anew."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    words = sorted((line for line in lines if line and not line.startswith("#")), key=len, reverse=True)
    if not words:
        raise DataError(f"{path}: the list of words is empty; expected a word or phrase a line")
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)", re.IGNORECASE)


def _call(call: Mapping[str, Any]) -> tuple[str, Any]:
    """Return name and arguments of a tool call. Arguments that are no JSON stay text; None where there are none."""
    inner = call.get("function", call)
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = json.loads(arguments)
    return str(inner.get("name", "")), arguments


def _fits(wanted: tuple[str, Any], given: tuple[str, Any]) -> bool:
    return wanted[0] == given[0] and (wanted[1] is None or wanted[1] == given[1])


def _paired(wanted: Sequence[tuple[str, Any]], given: Sequence[tuple[str, Any]]) -> bool:
    """Return True if each wanted call can be paired with another given one; those with arguments choose first."""
    left = list(given)
    for each in sorted(wanted, key=lambda call: call[1] is None):
        match = next((place for place, other in enumerate(left) if _fits(each, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def _calls(calls: Sequence[tuple[str, Any]]) -> str:
    return ", ".join(f"{name}({'' if arguments is None else json.dumps(arguments)})" for name, arguments in calls) or (
        "nothing"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
