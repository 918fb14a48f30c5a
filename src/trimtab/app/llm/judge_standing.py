"""Whether a judge may gate, and what people would say of answers that it judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from trimtab.app.project.workspace import Workspace
from trimtab.definitions.llm.evaluators import Judge
from trimtab.policy.llm.section_llm import JudgeRules
from trimtab.records.llm import JudgeCalibration
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.corrected import corrected_share
from trimtab.stats.schemes import Floats
from trimtab.stores.metadata.contract import latest
from trimtab.units import MICROS, plural

JUDGE = "judge:"
"""Begins the metrics and labels of judges."""


@dataclass(frozen=True, kw_only=True)
class JudgeStanding:
    """A judge.

    calibration: the newest one, if it is of this version. refused: why it may not gate; empty when it may.
    """

    judge: str
    calibration: JudgeCalibration | None
    refused: str

    def corrected(self, scores: Floats) -> str:
        """Return the share of answers that people would pass, with bounds, in words; "" where nothing says so.

        scores: of the judge, (items, repeats); NaN: no verdict.
        """
        share = self.share(scores)
        return "" if share is None else f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"

    def share(self, scores: Floats) -> Interval | None:
        """Return the share of answers that people would pass; None where nothing says so. scores: as `corrected`."""
        found = self.calibration
        if found is None or not found.cells:
            return None
        verdicts = np.nan_to_num(scores, nan=0.0).ravel()
        both_fail, person_alone, judge_alone, both_pass = found.cells
        judged = [0.0] * (both_fail + person_alone) + [1.0] * (judge_alone + both_pass)
        people = [0.0] * both_fail + [1.0] * person_alone + [0.0] * judge_alone + [1.0] * both_pass
        return corrected_share(
            np.concatenate([judged, verdicts]), np.concatenate([people, np.full(verdicts.size, np.nan)])
        )


def judge_standings(workspace: Workspace, judges: Mapping[str, Judge]) -> dict[str, JudgeStanding]:
    """Return whether each judge may gate, by its newest calibration and the policy's section `llm.judge`."""
    return {name: judge_standing(workspace, judge) for name, judge in judges.items()}


def judge_standing(workspace: Workspace, judge: Judge) -> JudgeStanding:
    """Return whether a judge may gate."""
    found = latest(workspace.metadata, JudgeCalibration, judge=judge.name)
    why = why_not(found, judge, workspace.project.policy.llm.judge, workspace.now())
    same = found if found is not None and found.version == judge.version else None
    return JudgeStanding(judge=judge.name, calibration=same, refused=why)


def no_harm(workspace: Workspace, prompt: str, at: datetime) -> str:
    """Return why the labels of a prompt show no harm at an event time: they are of a judge that may not gate."""
    llm = workspace.project.policy.llm
    judge = judge_of(workspace, prompt, llm.promote.metric.removeprefix(JUDGE))
    if not llm.promote.metric.startswith(JUDGE) or judge is None:
        return ""
    why = why_not(latest(workspace.metadata, JudgeCalibration, judge=judge.name), judge, llm.judge, at)
    return f"judge {judge.name} informs, and shows no harm: {why}" if why else ""


def judge_of(workspace: Workspace, prompt: str, name: str) -> Judge | None:
    """Return a judge of a prompt by name, or None."""
    found = workspace.project.definitions.prompts.get(prompt)
    evaluators = [each for of in (found.evals if found else ()) for each in of.evaluators]
    return next((each for each in evaluators if isinstance(each, Judge) and each.name == name), None)


def why_not(found: JudgeCalibration | None, judge: Judge, rules: JudgeRules, now: datetime) -> str:
    """Return why a judge may not gate; empty when it may. found: its newest calibration."""
    run = f"run: trimtab judge calibrate {judge.name}"
    if found is None:
        sample = "" if judge.labels is not None else f"trimtab judge sample {judge.name} FILE, then "
        return f"it was not compared with people; run: {sample}trimtab judge calibrate {judge.name}"
    if found.version != judge.version:
        return f"it was changed since it was compared with people; {run}"
    if now - found.created_at > timedelta(seconds=rules.recheck / MICROS["s"]):
        days = plural((now - found.created_at).days, "day")
        return f"it was compared with people {days} ago (llm.judge.recheck); {run}"
    if found.n < rules.min_labels:
        return f"people have judged {found.n} of {rules.min_labels} answers (llm.judge.min_labels)"
    if found.kappa_low is None:
        return "people, or the judge, gave one and the same verdict on all answers, so their agreement shows nothing"
    if found.kappa_low < rules.min_kappa:
        return (
            f"its agreement with people beyond chance is at least {found.kappa_low:.2f}, and {rules.min_kappa:g} is "
            "wanted (llm.judge.min_kappa)"
        )
    return ""
