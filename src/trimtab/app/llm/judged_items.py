"""What people would say of the answers of an evaluation: the judge's verdicts, corrected by those of people on the same
answers. Verdicts of people on other answers do not say how the judge errs on these."""

from __future__ import annotations

import numpy as np

from trimtab.app.llm.judge_labels import read_labels
from trimtab.app.llm.judge_standing import JudgeStanding
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.llm.evaluators import Judge
from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation
from trimtab.stats.paired.corrected import corrected_difference, corrected_share
from trimtab.stats.schemes import Floats


def corrected_words(workspace: Workspace, judge: Judge, standing: JudgeStanding, evaluation: Evaluation) -> str:
    """Return what people would say by their verdicts on answers of this evaluation, in words.

    Empty for scores, for a judge that was not compared with people, and where people have judged fewer than
    `llm.judge.min_labels_challenger` of the answers: those of both versions, where it compares two.
    """
    if standing.calibration is None or judge.scale == "score":
        return ""
    least = workspace.project.policy.llm.judge.min_labels_challenger
    labels = {
        (answer.item.id, answer.turn.text): float(answer.value >= 0.5)
        for answer in read_labels(workspace, judge).answers
        if answer.item is not None
    }
    sides = range(len(evaluation.facts.sides))
    people = [_people(evaluation, judge.name, side, labels) for side in sides]
    said = [np.nan_to_num(evaluation.scores(judge.name, side)[:, 0], nan=0.0) for side in sides]
    known = int(np.isfinite(sum(people)).sum())
    if known < least:
        return ""
    if len(sides) == 1:
        share = corrected_share(said[CANDIDATE], people[CANDIDATE])
        bounds = f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
        return f"people, by their verdicts on {known} of the answers, would pass {bounds}"
    found = corrected_difference((said[CHAMPION], said[CANDIDATE]), (people[CHAMPION], people[CANDIDATE]))
    value, low, high = (f"{100 * each:+.1f}" for each in (found.value, found.low, found.high))
    return f"people, by their verdicts on both answers to {known} items, {value} points ({low} to {high})"


def _people(evaluation: Evaluation, name: str, side: int, labels: dict[tuple[str, str], float]) -> Floats:
    """Return what people say of the first answer to each item, NaN where they did not judge it."""
    items = evaluation.judged(name)
    return np.array([labels.get((item.id, item.answers[side][0].text), np.nan) for item in items])
