"""The rules of the model `classifier`: which queues a prompt names, and which one a text belongs to by common words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from trimtab.llm.loopback.word_pieces import pick, text_of, words_of

_LINE = re.compile(r"^\s*[-*•]\s*[`\"'*]*([\w][\w &/-]{0,39}?)[`\"'*]*\s*[:=–—]\s*(\S.*)$", re.MULTILINE)
"""`- name: words that describe it`."""
_LIST = re.compile(
    r"(?:one of|queues?|labels?|categories|classes)\s*(?:are|is)?\s*:?\s+"
    r"((?:[\w-]+,\s*)+(?:(?:or|and)\s+)?[\w-]+(?:\s+(?:or|and)\s+[\w-]+)?)",
    re.IGNORECASE,
)
"""`one of billing, shipping or account`: names without descriptions."""
_EXAMPLE = re.compile(r"^\s*(?:[-*•]\s*)?[\"“](.+?)[\"”]\s*(?:->|=>|→)\s*[`\"']?([\w-]+)", re.MULTILINE)
"""`"my card was charged twice" -> billing`."""
OWN_NAME = 0.5
"""Weight of the words of a queue's name, compared with those of its description."""
EXAMPLE_WEIGHT = 1.5
"""Weight of the nearest example, whose overlap is from 0 to 1, compared with one word of a description."""


class Prompted(NamedTuple):
    """What a prompt says of the task.

    queues: name -> words that describe it. examples: words and queue. text: what is to be sorted.
    """

    queues: Mapping[str, frozenset[str]]
    examples: Sequence[tuple[frozenset[str], str]]
    text: str


class Sorted(NamedTuple):
    """The queue of a text. share: of its score among those of all queues; 0 for a guess."""

    queue: str
    share: float


def read_prompt(messages: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> Prompted:
    """Read queues and examples from all messages before the last one of the user, else from that one alone.

    names: queues that an output schema lists; the prompt may describe no others then.
    """
    last = max((at for at, each in enumerate(messages) if each.get("role") == "user"), default=len(messages))
    text = text_of(messages[last]) if last < len(messages) else ""
    told = "\n".join(text_of(each) for each in messages[:last] if each.get("role") != "assistant")
    queues = _queues(told)
    if not queues and (inside := _queues(text)):  # instructions and text in one message
        queues, told = inside, text
        ends = [found.end() for form in (_LINE, _LIST, _EXAMPLE) for found in form.finditer(text)]
        text = text[max(ends) :]
    for name in names:
        queues.setdefault(name, frozenset())
    if names:
        queues = {name: queues[name] for name in names}
    examples = [(frozenset(words_of(found[1])), found[2]) for found in _EXAMPLE.finditer(told)]
    for before, after in pairwise(messages[:last]):
        if (before.get("role"), after.get("role")) == ("user", "assistant"):
            named = named_queue(text_of(after), queues)
            if named is not None:
                examples.append((frozenset(words_of(text_of(before))), named))
    return Prompted(queues, [each for each in examples if each[1] in queues], text)


def sort_text(prompted: Prompted, *seed: object) -> Sorted:
    """Return the queue whose words, or whose nearest example, the text has most of.

    A word that describes several queues counts for each by its share. Without a common word the queue is a guess,
    drawn by the seed and the text.
    """
    words = set(words_of(prompted.text))
    queues = prompted.queues
    if not queues:
        return Sorted("unknown", 0.0)
    shared = {word: sum(word in described for described in queues.values()) for word in words}
    scores = {}
    for name, described in queues.items():
        scores[name] = sum(1 / shared[word] for word in words & described)
        scores[name] += OWN_NAME * len(words & set(words_of(name)) - described)
        near = [
            2 * len(words & example) / (len(words) + len(example))
            for example, queue in prompted.examples
            if queue == name and example
        ]
        scores[name] += EXAMPLE_WEIGHT * max(near, default=0.0)
    best = max(scores.values())
    if best == 0:
        return Sorted(pick(sorted(queues), *seed, prompted.text), 0.0)
    ahead = sorted(name for name, score in scores.items() if score == best)
    return Sorted(pick(ahead, *seed, prompted.text), best / sum(scores.values()))


def lines_of(text: str) -> dict[str, str]:
    """Return the queues that a text describes, each with its description."""
    return {found[1].strip(): found[2].strip() for found in _LINE.finditer(text)}


def _queues(text: str) -> dict[str, frozenset[str]]:
    described = {name: frozenset(words_of(words)) for name, words in lines_of(text).items()}
    for found in _LIST.finditer(text):
        for name in re.split(r",\s*(?:or\s+|and\s+)?|\s+(?:or|and)\s+", found[1]):
            if name:
                described.setdefault(name, frozenset())
    return described


def named_queue(answer: str, queues: Mapping[str, object]) -> str | None:
    """Return the queue that an answer names, the longest name first."""
    for name in sorted(queues, key=len, reverse=True):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", answer, re.IGNORECASE):
            return name
    return None
