"""Which items broke, which were mended, which are flaky: by the evaluator that decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation, ItemResult
from trimtab.stats.paired.repeats import FlakyItem, flaky_items
from trimtab.units import plural

SHOWN = 5
"""How many items a line names."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Items of an evaluation by what became of them.

    Attributes:
        broken: the candidate's answers are worse than the champion's, the largest loss first.
        mended: they are better.
        flaky: the candidate passes some of its answers to them, by all repeats that there are.
    """

    broken: Sequence[tuple[ItemResult, float]]
    mended: Sequence[tuple[ItemResult, float]]
    flaky: Sequence[tuple[ItemResult, FlakyItem]]

    def lines(self) -> Iterator[str]:
        """Yield a line for each kind that has items."""
        for words, found in (("worse", self.broken), ("better", self.mended)):
            if found:
                named = ", ".join(f"{item.place} ({change:+.2g})" for item, change in found[:SHOWN])
                yield f"{words} on {plural(len(found), 'item')}: {named}{_more(len(found))}"
        if self.flaky:
            named = ", ".join(f"{item.place} ({each.passes} of {each.repeats})" for item, each in self.flaky[:SHOWN])
            yield f"flaky: {plural(len(self.flaky), 'item')}: {named}{_more(len(self.flaky))}"

    def ids(self) -> dict[str, list[str]]:
        """Return the ids of each kind."""
        return {
            "broken": [item.id for item, _ in self.broken],
            "mended": [item.id for item, _ in self.mended],
            "flaky": [item.id for item, _ in self.flaky],
        }


def outcomes(evaluation: Evaluation) -> Outcomes:
    """Return what became of the items."""
    name = evaluation.facts.quality
    items = evaluation.judged(name)
    changes: list[tuple[ItemResult, float]] = []
    if len(evaluation.facts.sides) > 1:
        candidate, champion = (np.nan_to_num(evaluation.scores(name, side)) for side in (CANDIDATE, CHAMPION))
        d = candidate.mean(axis=1) - champion.mean(axis=1)
        changes = sorted(zip(items, d.tolist(), strict=True), key=lambda each: each[1])
    flaky = list[tuple[ItemResult, FlakyItem]]()
    if evaluation.judging(name).kind == "pass_fail":
        values = [[mark.value or 0.0 for mark in item.marks[name][CANDIDATE]] for item in items]
        longest = max(map(len, values), default=0)
        rows = np.array([each + [np.nan] * (longest - len(each)) for each in values])
        flaky = [(items[each.item], each) for each in flaky_items(rows)] if rows.size else []
    return Outcomes(
        broken=[each for each in changes if each[1] < 0],
        mended=[each for each in reversed(changes) if each[1] > 0],
        flaky=flaky,
    )


def _more(count: int) -> str:
    return f" and {count - SHOWN} more" if count > SHOWN else ""
