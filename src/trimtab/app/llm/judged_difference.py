"""What people would say of a shadow beside its champion, from the verdicts of a judge and of people on both answers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.corrected import corrected_difference
from trimtab.stores.predictions.contract import START
from trimtab.stores.predictions.label_rule import answer_id, is_bad

ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, kw_only=True)
class JudgedDifference:
    """Share that people would pass of the shadow's answers, less that of the champion's. turns: judged for both."""

    turns: int
    interval: Interval
    """`clusters`: turns of which people judged both answers."""

    def __str__(self) -> str:
        points = [f"{100 * value:+.1f}" for value in (self.interval.value, self.interval.low, self.interval.high)]
        return (
            f"corrected by {self.interval.clusters:,} turns of which people judged both answers, the shadow passes "
            f"{points[0]} points ({points[1]} to {points[2]})"
        )


def judged_difference(workspace: Workspace, prompt: str, version: int, judge: str) -> JudgedDifference | None:
    """Return the corrected difference of a shadow and its champion; None below `llm.judge.min_labels_challenger`.

    Verdicts of the champion's answers do not say how the judge errs on another version's, so only turns count of which
    people judged both. Raises StoreError.

    version: of the shadow. judge: its name.
    """
    judged, people = _verdicts(workspace, prompt, judge)
    turns = [turn for turn in judged if answer_id(turn, version) in judged]
    sides = [turns, [answer_id(turn, version) for turn in turns]]
    both = sum(turn in people and other in people for turn, other in zip(*sides, strict=True))
    if both < workspace.project.policy.llm.judge.min_labels_challenger:
        return None
    verdicts, said = (
        tuple(np.array([known.get(each, np.nan) for each in side]) for side in sides) for known in (judged, people)
    )
    found = corrected_difference((verdicts[0], verdicts[1]), (said[0], said[1]))
    return JudgedDifference(turns=len(turns), interval=found)


def _verdicts(workspace: Workspace, prompt: str, judge: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the verdicts of a judge and of people, 1 for a pass, by answer. Of people the majority counts."""
    latest: dict[tuple[str, str, str], tuple[object, float]] = {}
    table, cursor = workspace.predictions.read_labels(START, limit=ROWS_AT_ONCE)
    while table.num_rows:
        own = table.filter(pc.equal(table["model"], prompt))
        columns = [own[name].to_pylist() for name in ("prediction_id", "name", "rater", "label", "known_at")]
        for answer, name, rater, label, known_at in zip(*columns, strict=True):
            kind, _, rest = (name or "").partition(":")
            if label is None or (kind != "human" and (kind != "judge" or rest.partition("@")[0] != judge)):
                continue
            key = (answer, kind, rater or "")
            if key not in latest or known_at >= latest[key][0]:
                latest[key] = known_at, 0.0 if is_bad(name, label) else 1.0
        table, cursor = workspace.predictions.read_labels(cursor, limit=ROWS_AT_ONCE)
    found: dict[str, dict[str, list[float]]] = {"judge": defaultdict(list), "human": defaultdict(list)}
    for (answer, kind, _), (_, verdict) in latest.items():
        found[kind][answer].append(verdict)
    judged, people = (
        {answer: float(fmean(each) >= 0.5) for answer, each in found[kind].items()} for kind in ("judge", "human")
    )
    return judged, people
