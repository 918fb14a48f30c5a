"""The models of the loopback provider: rules in the place of language models. Seed, model and messages decide answers.

- `classifier` sorts the last user message into the queues that the prompt describes, by common words: a prompt with the
  right words answers better, one that lost them worse.
- `judge` compares an answer with the expected one; without one it sorts the question into the queues that its rubric
  describes, or compares answer and question, by common words.
- `reflector` proposes better instructions from failed examples: it adds words that their inputs have in common.
- `echo` repeats the last user message.
- `tools` calls the tool whose name and description have most words of the last user message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from typing import Any

import msgspec

from trimtab.llm.loopback.queue_rules import lines_of, named_queue, read_prompt, sort_text
from trimtab.llm.loopback.word_pieces import draw, pick, text_of, words_of

PROSE = 0.1
"""Share of answers in whole sentences, where the prompt does not ask for the name alone."""
FENCED = 0.05
"""Share of answers with text around the JSON, where the prompt asks for JSON, but no `response_format` does."""
JUDGE_FLIPS = 0.05
"""Share of verdicts of `judge` that are turned round."""
SAME = 0.5
"""Overlap of words (F1) from which `judge` takes an answer for the expected one."""
NEW_WORDS = 2
"""Most words that `reflector` adds to a queue at a time: with few examples most words of a text are chance."""


class Reply(msgspec.Struct, kw_only=True):
    """What a model answers. tool_calls: name and arguments."""

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()


Model = Callable[[int, Mapping[str, Any], bool], Reply]
"""Takes the seed, the body of the request, and whether the answer should be a wrong one."""


def classifier(seed: int, body: Mapping[str, Any], wrong: bool) -> Reply:
    """Sort the last user message."""
    messages = body["messages"]
    schema = _schema(body)
    key, names = _choice_of(schema)
    prompted = read_prompt(messages, names)
    found = sort_text(prompted, seed, "classifier")
    queue = found.queue
    if wrong:
        others = sorted(set(prompted.queues) - {queue})
        queue = pick(others, seed, "wrong", prompted.text) if others else "unknown"
    told = "\n".join(text_of(each) for each in messages[:-1]) or text_of(messages[-1])
    if schema is not None:
        return Reply(text=_json(_filled(schema, {key: queue, "confidence": round(found.share, 3)})))
    asked = "json" in told.lower()
    if asked or (body.get("response_format") or {}).get("type") == "json_object":
        text = _json({_key_in(told): queue})
        if asked and "response_format" not in body and draw(seed, "fenced", prompted.text) < FENCED:
            text = f"Here is the answer:\n{text}\nLet me know if you need more."
        return Reply(text=text)
    only = re.search(r"\b(only|just|nothing else|alone|single word)\b", told, re.I)
    if only is None and draw(seed, "prose", prompted.text) < PROSE:
        return Reply(text=f"I think this belongs to {queue}.")
    return Reply(text=queue)


def judge(seed: int, body: Mapping[str, Any], wrong: bool) -> Reply:
    """Judge the answer in the messages."""
    text = "\n".join(text_of(each) for each in body["messages"])
    answer, expected, question = (_section(text, *names) for names in (ANSWER, EXPECTED, QUESTION))
    rubric = [each for each in body["messages"] if each.get("role") == "system"]
    known = read_prompt([*rubric, {"role": "user", "content": _last_user_text(question)}])
    if expected:
        likeness = _f1(answer, expected)
        passed = likeness >= SAME
    elif known.queues and (found := sort_text(known)).share > 0:
        passed = named_queue(answer, known.queues) == found.queue
        likeness = found.share if passed else 1 - found.share
    else:
        likeness = _recall(answer, question)
        passed = likeness > 0
    if (draw(seed, "judge", answer, question) < JUDGE_FLIPS) != wrong:
        passed, likeness = not passed, 1 - likeness
    reason = f"the answer is {'like' if passed else 'unlike'} what was {'expected' if expected else 'asked'}"
    values: dict[str, Any] = {"score": round(likeness, 3), "reason": reason, "explanation": reason}
    schema = _schema(body)
    if schema is None:
        values = {"verdict": "pass" if passed else "fail", **values}
        return Reply(text=_json(values) if "json" in text.lower() else ("pass" if passed else "fail"))
    for name, of in schema.get("properties", {}).items():
        if of.get("type") == "boolean":
            values[name] = passed
        elif options := [str(each) for each in of.get("enum", ())]:
            values[name] = _verdict(options, passed)
    return Reply(text=_json(_filled(schema, values)))


def reflector(seed: int, body: Mapping[str, Any], wrong: bool) -> Reply:
    """Add the words of failed inputs to the queues that were expected.

    The messages hold the instructions in a first block of ```, and the examples with inputs, answers and feedback after
    it. A wrong proposal drops a queue's words instead.
    """
    text = "\n".join(text_of(each) for each in body["messages"])
    blocks = re.findall(r"```[^\n]*\n(.*?)```", text, re.DOTALL)
    instructions = blocks[0].strip("\n") if blocks else text_of(body["messages"][-1])
    told = blocks[1] if len(blocks) > 1 else text
    queues = lines_of(instructions)
    examples = re.split(r"^#+ Example \d+.*$", told, flags=re.MULTILINE)[1:] or [told]
    failed: dict[str, list[set[str]]] = {}
    shown: list[set[str]] = []
    for example in examples:
        inputs, _, feedback = example.rpartition("Feedback")
        queue = _expected_in(feedback, queues)
        shown.append(set(words_of(re.split(r"^#+ Generated Output", inputs, flags=re.MULTILINE)[0])))
        if queue is not None:
            failed.setdefault(queue, []).append(shown[-1])
    if wrong and queues:
        queue = pick(sorted(queues), seed, "wrong", instructions)
        return _proposal(_described(instructions, queue, "anything"))
    known = {word for words in queues.values() for word in words_of(words)}
    seen = Counter(word for text in shown for word in text)
    for queue in sorted(failed):
        counts = Counter(word for words in failed[queue] for word in words)
        new = [word for word in counts if word not in known and word not in LETTER_WORDS and word.isalpha()]
        new.sort(key=lambda word: (seen[word] - 2 * counts[word], draw(seed, instructions, word)))
        if new:
            before = lines_of(instructions).get(queue, "")
            instructions = _described(instructions, queue, ", ".join([*filter(None, [before]), *new[:NEW_WORDS]]))
            known.update(new[:NEW_WORDS])
    return _proposal(instructions)


def echo(seed: int, body: Mapping[str, Any], wrong: bool) -> Reply:
    """Repeat the last user message; backwards when wrong."""
    text = next((text_of(each) for each in reversed(body["messages"]) if each.get("role") == "user"), "")
    return Reply(text=text[::-1] if wrong else text)


def tools(seed: int, body: Mapping[str, Any], wrong: bool) -> Reply:
    """Call the tool that fits the last user message best; after the result of one, repeat it."""
    messages = body["messages"]
    if messages[-1].get("role") == "tool":
        return Reply(text=f"The result is {text_of(messages[-1])}")
    offered = [each["function"] for each in body.get("tools") or () if each.get("type") == "function"]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        offered = [each for each in offered if each["name"] == choice.get("function", {}).get("name")]
    text = text_of(messages[-1])
    if not offered or choice == "none":
        return Reply(text=text)
    words = set(words_of(text))
    ranked = sorted(
        offered,
        key=lambda each: -len(words & set(words_of(f"{each['name'].replace('_', ' ')} {each.get('description', '')}"))),
    )
    best = ranked[-1 if wrong else 0]
    schema = best.get("parameters") or {}
    numbers = re.findall(r"-?\d+(?:\.\d+)?", text)
    values: dict[str, Any] = {}
    for name, of in schema.get("properties", {}).items():
        kind = of.get("type")
        if kind in ("number", "integer") and numbers:
            values[name] = float(numbers[0]) if kind == "number" else int(float(numbers[0]))
        elif kind == "string" and "enum" not in of:
            values[name] = text
        elif options := [each for each in of.get("enum", ()) if str(each).lower() in text.lower()]:
            values[name] = options[0]
    return Reply(tool_calls=[(best["name"], _filled(schema, values))])


MODELS: Mapping[str, Model] = {
    "classifier": classifier,
    "judge": judge,
    "reflector": reflector,
    "echo": echo,
    "tools": tools,
}
ANSWER = ("answer", "response", "output", "completion")
EXPECTED = ("expected", "reference", "expected answer", "ground truth")
QUESTION = ("conversation", "question", "input", "messages", "ticket")
_LETTERS = """
input ticket text message user role example queue content hello hi hey dear good morning afternoon evening day week
month thank thanks please regard sorry team help need want like get got give tell know ask say said see send sent still
yet already now today yesterday tomorrow since first second last next one two three new old order number euro
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september
october november december
"""
LETTER_WORDS = frozenset(words_of(_LETTERS))
"""Words of the form of examples and of letters, rather than of a topic."""


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None
    return schema if isinstance(schema, Mapping) else None


def _choice_of(schema: Mapping[str, Any] | None) -> tuple[str, list[str]]:
    """Return the first property that is one of several texts, and these; else the first text."""
    properties = (schema or {}).get("properties", {})
    for name, of in properties.items():
        if options := _resolved(schema or {}, of).get("enum"):
            return name, [str(each) for each in options]
    texts = [name for name, of in properties.items() if of.get("type") == "string"]
    return (texts[0] if texts else "queue"), []


def _resolved(schema: Mapping[str, Any], of: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference into $defs, as pydantic writes for enumerations."""
    name = str(of.get("$ref", "")).rpartition("/")[2]
    return schema.get("$defs", {}).get(name, of) if name else of


def _filled(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object that fits a flat schema: the values that are known, others by their type."""
    found = {}
    for name, given in schema.get("properties", {}).items():
        of = _resolved(schema, given)
        if name in values:
            found[name] = values[name]
        elif of.get("enum"):
            found[name] = of["enum"][0]
        else:
            empty = {"number": 0.0, "integer": 0, "boolean": False, "array": [], "object": {}, "null": None}
            found[name] = empty.get(of.get("type", "string"), "by common words")
    return found


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _key_in(text: str) -> str:
    """Return the key that a prompt wants, as in {"queue": ...}; without one, "queue"."""
    found = re.search(r"\{\s*[\"'](\w+)[\"']\s*:", text)
    return found[1] if found else "queue"


def _section(text: str, *names: str) -> str:
    """Return what stands in the tag, under the heading or behind the label with one of the names."""
    for name in names:
        tagged = re.findall(rf"<{name}[^>]*>(.*?)</{name}>", text, re.I | re.S)
        if tagged:
            return str(tagged[-1]).strip()
    for name in names:
        headed = re.findall(
            rf"^\W*{name}\W*(?:\n|:\s)(.*?)(?=^\W*[\w ]{{3,30}}(?:\n|:\s)|\Z)", text, re.I | re.S | re.M
        )
        if headed:
            return str(headed[-1]).strip()
    return ""


def _last_user_text(conversation: str) -> str:
    """Return the last text of the user in messages that are written as JSON; other texts as they are."""
    try:
        messages = msgspec.json.decode(unescape(conversation), type=list[dict[str, Any]])
    except msgspec.DecodeError:
        return conversation
    return next((text_of(each) for each in reversed(messages) if each.get("role") == "user"), "")


def _f1(answer: str, expected: str) -> float:
    a, b = Counter(words_of(answer)), Counter(words_of(expected))
    return 2 * (a & b).total() / max(a.total() + b.total(), 1)


def _recall(answer: str, question: str) -> float:
    asked = set(words_of(question))
    return len(asked & set(words_of(answer))) / max(len(asked), 1)


def _verdict(options: Sequence[str], passed: bool) -> str:
    """Return the option that means pass, or fail; of unknown ones the first means pass."""
    good = [each for each in options if each.lower() in ("pass", "passed", "yes", "true", "correct", "good")]
    bad = [each for each in options if each.lower() in ("fail", "failed", "no", "false", "incorrect", "bad")]
    return ([*good, options[0]] if passed else [*bad, options[-1]])[0]


def _expected_in(feedback: str, queues: Mapping[str, str]) -> str | None:
    """Return the queue that the feedback on a failed example names as expected; None for a good one."""
    found = re.search(
        r"(?:expected|correct|right|wanted|should (?:be|have been))[\w\s]{0,25}?[:\s]*"
        r"(?:\{\s*\"\w+\"\s*:\s*)?[\"'`]([\w &/-]+)[\"'`]"
        r"|(?:expected|should (?:be|have been))\s*(?:answer|queue|label|output)?\s*(?:is|was|:)?\s*([\w-]+)",
        feedback,
        re.I,
    )
    if found is None:
        return None
    name = (found[1] or found[2]).strip()
    return next((each for each in queues if each.lower() == name.lower()), name)


def _described(instructions: str, queue: str, words: str) -> str:
    """Return instructions in which a queue has another description, or a new line at the end."""
    line = re.compile(rf"^(\s*[-*•]\s*[`\"'*]*{re.escape(queue)}[`\"'*]*\s*[:=–—]\s*)(\S.*)$", re.MULTILINE)
    if line.search(instructions):
        return line.sub(lambda found: f"{found[1]}{words}", instructions, count=1)
    return f"{instructions}\n- {queue}: {words}"


def _proposal(instructions: str) -> Reply:
    return Reply(text=f"The examples failed for want of words that describe their queues.\n\n```\n{instructions}\n```")
