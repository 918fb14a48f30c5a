"""Labels that come later: what they must hold, and what becomes of them.

late            taken, however long after the prediction; `known_at` says when the outcome became known
repeated        the same label again: taken, without a second effect
contradictory   another label for the same prediction: both stay in the log, the one with the latest known_at counts
unknown id      taken: no worker knows all ids (docs/decisions/0012); that of a turn of another tenant is refused
invalid         refused, and with it everything that came in the same request
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from trimtab import timestamps
from trimtab.metric_catalog import CHAT, Task
from trimtab.serving.requests import MAX_ID, Refused, control, shown
from trimtab.stores.predictions import label_rule
from trimtab.tasks import RULES, numbers_of_classes

LARGEST = sys.float_info.max
"""What JSON's Infinity is read as, so no label."""
MOST_NAMED = 20
"""Wrong labels of one request that the answer names."""
REMEMBERED = 10_000
"""Ids of a model whose labels a worker remembers (some 3 MB), to tell repeated and contradictory ones."""


class Label(msgspec.Struct, gc=False):
    """The outcome of one prediction. known_at: microseconds since the epoch, None for now.

    label: a number, or the name of a class, as the client sent it until `wrong` has made it the model's.
    """

    index: int
    id: str
    label: float | str
    known_at: int | None
    model: str | None = None
    """Of the prediction, where the label names it."""
    name: str | None = None
    """Of a label of a turn: thumbs, edited, judge:NAME@VERSION or human:NAME."""
    value: object = None
    """Of a named label, as it came; `label` is then how bad that is."""
    rater: str | None = None

    @property
    def key(self) -> str:
        """What several labels must have in common for one of them to count."""
        return self.id if self.name is None else f"{self.id}\0{self.name}\0{self.rater or ''}"

    def check(self, task: Task, classes: Sequence[str] = ()) -> None:
        """Raise BadLabels when the label is none of the task's."""
        wrong = self.wrong(task, classes)
        if wrong is not None:
            raise BadLabels([wrong])

    def wrong(self, task: Task, classes: Sequence[str] = ()) -> Wrong | None:
        """Make the label the model's; return what is wrong with it when it is none of the task's.

        classes: names that a version in service knows. The label of a multiclass model becomes the name of a class, and
        may be another one: a class that is new to all versions. That of a named class of a binary model becomes 0 or 1
        (`numbers_of_classes`).
        """
        if task == CHAT or self.name is not None:
            return self._wrong_for_turn(task)
        rules, label = RULES[task], self.label
        name = label if isinstance(label, str) else str(int(label)) if label.is_integer() else ""
        if rules.by_class:
            if isinstance(label, str) or name in classes or (name and all(map(str.isdecimal, classes))):
                self.label = name
                return None
            return expected(self.index, "label", label, f"the name of a class, such as {', '.join(classes[:3])}")
        if rules.has_threshold and classes:
            numbers = numbers_of_classes(classes)
            number = numbers.get(name)
            if number is None:
                plain = "0 or 1, or " if "0" in numbers and "0" not in classes else ""
                return expected(self.index, "label", label, f"{plain}one of {', '.join(classes)}")
            self.label = number
        elif isinstance(label, str) or (rules.has_threshold and label not in (0.0, 1.0)):
            return expected(self.index, "label", label, rules.expected)
        return None

    def _wrong_for_turn(self, task: Task) -> Wrong | None:
        if task != CHAT:
            return expected(self.index, "name", self.name, "none: only turns of prompts have labels of several names")
        if self.name is None or label_rule.NAME.fullmatch(self.name) is None:
            return expected(self.index, "name", self.name, label_rule.EXPECTED_NAME)
        try:
            self.label = label_rule.badness(self.name, self.value)
        except ValueError as error:
            return expected(self.index, "value", self.value, str(error))
        return None


class Wrong(msgspec.Struct, frozen=True):
    """What is wrong with one label of a request."""

    index: int
    field: str
    reason: str


class BadLabels(Refused):
    """Some labels of a request are wrong, so none is taken; the text names the first ones, `wrong` holds all."""

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        named = "; ".join(each.reason for each in wrong[:MOST_NAMED])
        more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        super().__init__(400, named + more)
        self.wrong = tuple(wrong)


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the labels of a request.

    accepted: all of them. repeated and contradicting count against the labels that this worker remembers.
    """

    accepted: int
    repeated: int = 0
    contradicting: int = 0
    unknown_classes: dict[str, int] = {}
    """Labels by their class, of classes that no version in service knows: those of new classes, or misspelt ones."""


class Recent:
    """The newest label of the predictions of one model that were labelled last. Lives on one event loop."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._labels: dict[str, tuple[float | str, int]] = {}

    def judge(
        self, labels: Iterable[Label], now: int
    ) -> tuple[list[Label], Outcome, dict[str, tuple[float | str, int]]]:
        """Return the labels that are to be logged, what became of all, and what to `keep` once they are.

        A repetition is not logged again when it says nothing new: no known_at, or the one that is known.
        """
        seen: dict[str, tuple[float | str, int]] = {}
        fresh: list[Label] = []
        count = repeated = contradicting = 0
        for label in labels:
            count += 1
            known_at = now if label.known_at is None else label.known_at
            key = label.key
            before = seen.get(key) or self._labels.get(key)
            if before is not None:
                if before[0] == label.label:
                    repeated += 1
                    if label.known_at is None or known_at == before[1]:
                        continue
                else:
                    contradicting += 1
            fresh.append(label)
            if before is None or label_rule.replaces(known_at, before[1]):
                seen[key] = (label.label, known_at)
        return fresh, Outcome(count, repeated, contradicting), seen

    def keep(self, seen: dict[str, tuple[float | str, int]]) -> None:
        """Remember labels that have been logged, and forget the oldest ids beyond the size."""
        for name, label in seen.items():
            self._labels.pop(name, None)
            self._labels[name] = label
        for name in list(self._labels)[: max(0, len(self._labels) - self._size)]:
            del self._labels[name]


def read_label(index: int, item: dict[str, Any]) -> Label | Wrong:
    """Return a label from its fields id, label, known_at and model, or what is wrong with it.

    A label of a turn has name, value and rater in the place of label.
    """
    name, label, model = item.get("id"), item.get("label"), item.get("model")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_ID + 20:
        return expected(index, "id", name, "the id of a prediction")
    if (found := control(name)) is not None:
        return expected(index, "id", name, f"no control characters, such as {found}")
    named, value, rater = item.get("name"), item.get("value", label), item.get("rater")
    for field, text in (("name", named), ("rater", rater)):
        if text is not None and (not isinstance(text, str) or not 1 <= len(text) <= MAX_ID or control(text)):
            return expected(index, field, text, f"text of 1 to {MAX_ID} characters")
    if named is not None:
        label, value = 0.0, _number_of(value)
    if isinstance(label, str):
        if not 1 <= len(label) <= MAX_ID or control(label) is not None:
            return expected(index, "label", label, f"a number, or the name of a class, of 1 to {MAX_ID} characters")
    elif not isinstance(label, int | float) or not -LARGEST < label < LARGEST:
        return expected(index, "label", label, "a number, or the name of a class")
    else:
        label = float(label)
    if model is not None and not isinstance(model, str):
        return expected(index, "model", model, "the name of a model")
    told = item.get("known_at")
    known_at = None if told is None else timestamps.micros(told)
    if told is not None and known_at is None:
        what = "ISO 8601 text or microseconds since 1970 as an integer"
        return expected(index, "known_at", told, what + timestamps.hint(told))
    return Label(index, name, label, known_at, model, named, value, rater)


def _number_of(value: object) -> object:
    """Return the number that a text of a CSV holds, or the value as it is."""
    with suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def expected(index: int, field: str, value: object, what: str) -> Wrong:
    """Return what is wrong with a field of a label."""
    return Wrong(index, field, f"labels[{index}].{field} is {shown(value)}; expected {what}")
