"""What an evaluation found: answers of one or two versions to the same items, and the scores of all evaluators.

An evaluation is kept as two files: evaluation.json with the facts, and results.jsonl with a line for each item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.llm.evaluate.answer_cache import Answer

FACTS_FILE, RESULTS_FILE = "evaluation.json", "results.jsonl"
CANDIDATE, CHAMPION = 0, 1
"""Sides of a comparison."""
Floats = npt.NDArray[np.float64]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a prompt that was evaluated. name: such as triage/3; files: as the project has it now."""

    name: str
    prompt_hash: str
    endpoint: str
    model: str


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluator of an evaluation.

    kind: whether it says pass or fail, or gives scores. version: of a judge's question or of a function's code.
    judge: whether it is a language model.
    """

    name: str
    gate: str
    kind: Literal["pass_fail", "score"]
    version: str
    judge: bool = False


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an evaluator said of one answer. value: from 0 to 1; None: no verdict."""

    value: float | None
    reason: str = ""


class ItemResult(msgspec.Struct, frozen=True, kw_only=True):
    """One item with all answers and scores.

    question: the last message of the user, as the candidate sends it. answers: by side and repeat. format_ok: the same.
    marks: by evaluator, side and repeat; an evaluator of another set is left out.
    """

    id: str
    set: str
    place: str
    inputs: Mapping[str, Any]
    expected: Any = None
    tags: Mapping[str, str] = {}
    cluster: str = ""
    question: str = ""
    answers: Sequence[Sequence[Answer]]
    format_ok: Sequence[Sequence[bool]]
    marks: Mapping[str, Sequence[Sequence[Mark]]]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation is of.

    quality: name of the evaluator that decides. sets: ids of the EvalSetVersions. repeats: answers to each item that
    count. bought, cached: answers and verdicts; verdicts_bought, verdicts_cached: verdicts alone. cost_pico: what was
    paid, judges with it. smallest_effect: difference of the quality that the items could show, by what was known
    before.
    """

    prompt: str
    sides: tuple[Side, ...]
    evaluators: tuple[Judging, ...]
    quality: str
    has_schema: bool
    sets: tuple[str, ...]
    repeats: int
    bought: int
    cached: int
    cost_pico: int
    smallest_effect: float
    seed: int
    verdicts_bought: int = 0
    verdicts_cached: int = 0


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Facts and items of an evaluation."""

    facts: Facts
    items: tuple[ItemResult, ...]

    def judging(self, name: str) -> Judging:
        """Return an evaluator by name."""
        return next(each for each in self.facts.evaluators if each.name == name)

    def judged(self, name: str) -> tuple[ItemResult, ...]:
        """Return the items that an evaluator has judged."""
        return tuple(item for item in self.items if name in item.marks)

    def scores(self, name: str, side: int) -> Floats:
        """Return the scores of an evaluator, (items it has judged, repeats); NaN: no verdict."""
        rows = [_numbers(item.marks[name][side], self.facts.repeats) for item in self.judged(name)]
        return np.array(rows, dtype=np.float64).reshape(len(rows), self.facts.repeats)

    def answers(self, side: int) -> Iterator[tuple[ItemResult, Answer]]:
        """Yield the answers of a side that count, with their items."""
        for item in self.items:
            for answer in item.answers[side][: self.facts.repeats]:
                yield item, answer

    def write(self, folder: Path) -> None:
        """Write both files."""
        (folder / FACTS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self.facts)) + b"\n")
        (folder / RESULTS_FILE).write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in self.items))


def read_evaluation(folder: Path) -> Evaluation:
    """Read both files. Raises DataError."""
    try:
        facts = msgspec.json.decode((folder / FACTS_FILE).read_bytes(), type=Facts)
        lines = (folder / RESULTS_FILE).read_bytes().splitlines()
        return Evaluation(facts=facts, items=tuple(msgspec.json.decode(line, type=ItemResult) for line in lines))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; the folder holds no evaluation") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{folder}: not an evaluation: {error}") from None


def _numbers(marks: Sequence[Mark], repeats: int) -> list[float]:
    return [np.nan if mark.value is None else mark.value for mark in marks[:repeats]]
