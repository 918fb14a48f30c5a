"""Compares a judge with people, and draws answers for people to judge."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Sequence

import msgspec
import numpy as np

from trimtab.app.llm.evaluating import CACHE
from trimtab.app.llm.judge_labels import JudgedAnswer, prompts_of, read_labels
from trimtab.app.llm.judge_standing import why_not
from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.app.llm.paid_calls import with_budget
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions.llm.evaluators import Judge
from trimtab.errors import DataError, StageError
from trimtab.llm.evaluate.answer_cache import AnswerCache
from trimtab.llm.evaluate.asking import ask_all
from trimtab.llm.evaluate.buying import Buyer
from trimtab.llm.evaluate.judge_calls import combined, judge_request, read_verdict, verdict_keys
from trimtab.llm.prompt_assembly import target_spec
from trimtab.records.llm import JudgeCalibration
from trimtab.records.training import Run
from trimtab.stats.paired.agreement import agreement, flips, kappa, length_slope
from trimtab.stats.schemes import Floats

SAMPLE_COLUMNS = ("item", "question", "expected", "answer", "rater", "verdict")
TWICE = 0.2
"""Share of the sampled answers that a second person is to judge."""
RUNS = 2
"""How often the judge is asked, to see whether it agrees with itself."""


def calibrate(workspace: Workspace, judge: Judge, *, max_cost: float | None = None) -> JudgeCalibration:
    """Let a judge judge what people have judged, and record how well it agrees with them.

    Raises:
        DefinitionError: the judge names no labels.
        DataError: labels cannot be read, or there are none.
        EvaluationStopped: the budget is spent.
        StageError: the endpoint does not answer.
    """
    labels = read_labels(workspace, judge)
    if not labels.answers:
        raise DataError(f"Judge '{judge.name}': labels: no row has a verdict")
    rules = workspace.project.policy.llm
    cap = rules.evaluate.budget if max_cost is None else max_cost
    first, second = with_budget(
        workspace,
        whose=f"judge-{judge.name}",
        cap=cap,
        work=lambda buyer: _judged(workspace, judge, labels.answers, buyer),
    )
    people = np.array([answer.value for answer in labels.answers])
    said = np.nan_to_num(first, nan=0.0)
    passes, wanted = (said >= 0.5).astype(float), (people >= 0.5).astype(float)
    found = agreement(passes, wanted, confidence=rules.evaluate.confidence)
    lengths = [max(len(answer.turn.text), 1) for answer in labels.answers]
    slope = length_slope(said, people, lengths)
    twice = [answer for answer in labels.answers if len(answer.verdicts) > 1]
    now = workspace.now()
    made = JudgeCalibration(
        id=f"{judge.name}@{judge.version}/{labels.hash[:12]}/{now:%Y%m%dT%H%M%S.%f}",
        created_at=now,
        judge=judge.name,
        version=judge.version,
        labels=labels.hash,
        n=found.n,
        agreement=found.agreement,
        constant_agreement=found.constant_agreement,
        kappa=_known(found.kappa.value),
        kappa_low=_known(found.kappa.low),
        kappa_high=_known(found.kappa.high),
        sensitivity=_known(found.sensitivity.value),
        specificity=_known(found.specificity.value),
        flips=flips(passes, (np.nan_to_num(second, nan=0.0) >= 0.5).astype(float)).value,
        length_slope=_known(slope.value),
        cells=tuple(np.bincount((2 * passes + wanted).astype(int), minlength=4).tolist()),
        no_verdict=int(np.isnan(first).sum()),
        raters=_raters(twice),
        twice=len(twice),
        allowed=False,
        reason="",
    )
    why = why_not(made, judge, rules.judge, now)
    made = msgspec.structs.replace(made, allowed=not why, reason=why)
    workspace.metadata.put(made)
    return made


def sample_answers(workspace: Workspace, judge: Judge, *, rows: int, seed: int = 0) -> str:
    """Return answers of the last evaluations for people to judge, as CSV: drawn at random, a fifth of them twice.

    Raises StageError without an evaluation by the judge.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for prompt in prompts_of(workspace, judge.name):
        run = next((run for run in workspace.metadata.find(Run, model=prompt.name) if run.purpose == "evaluate"), None)
        if run is None:
            continue
        for item in evaluation_of(workspace, run).items:
            if judge.name in item.marks:
                for side in item.answers:
                    found.setdefault((item.id, side[0].text), (item.question, _written(item.expected)))
    if not found:
        raise StageError(f"judge '{judge.name}' has judged no evaluation yet; run: trimtab eval")
    chance = random.Random(seed)
    drawn = chance.sample(sorted(found), min(rows, len(found)))
    again = drawn[: round(TWICE * len(drawn))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SAMPLE_COLUMNS)
    for rater, answers in (("", drawn), ("second person", again)):
        for key in answers:
            question, wanted = found[key]
            writer.writerow([key[0], question, wanted, key[1], rater, ""])
    return text.getvalue()


async def _judged(
    workspace: Workspace, judge: Judge, answers: Sequence[JudgedAnswer], buyer: Buyer
) -> tuple[Floats, Floats]:
    """Return what the judge says of each answer in two runs, NaN where it gives no verdict."""
    target = target_spec(judge.endpoint, judge.model, f"Judge '{judge.name}'")
    cache = AnswerCache(workspace.root / CACHE, f"judge-{judge.version}", now=lambda: to_micros(workspace.now()) / 1e6)
    bodies = [judge_request(judge, answer.turn, answer.item) for answer in answers]
    keys = [[verdict_keys(judge, body, run) for run in range(RUNS)] for body in bodies]
    wanted = {key: body for of, body in zip(keys, bodies, strict=True) for run in of for key in run}

    async def ask(key: str) -> str:
        known = cache.get(key)
        if known is None:
            bought = await buyer(target, wanted[key], purpose="judge")
            known = msgspec.structs.replace(bought, at=to_micros(workspace.now()) / 1e6)
            cache.put(key, known)
        return known.text

    said = await ask_all(list(wanted), ask, concurrent=workspace.project.policy.llm.evaluate.concurrent)
    values = [[combined(judge, [read_verdict(judge, said[key]) for key in run]).value for run in of] for of in keys]
    rows = np.array([[np.nan if value is None else float(value) for value in each] for each in values])
    return rows[:, 0], rows[:, 1]


def _raters(twice: Sequence[JudgedAnswer]) -> float | None:
    """Return how far two people agree beyond chance, on the answers that two have judged."""
    if not twice:
        return None
    pairs = [sorted(answer.verdicts)[:2] for answer in twice]
    one, other = ([float(pair[n].value >= 0.5) for pair in pairs] for n in range(2))
    return _known(kappa(one, other).value)


def _written(expected: object) -> str:
    if expected is None or isinstance(expected, str):
        return expected or ""
    return msgspec.json.encode(expected).decode()


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
