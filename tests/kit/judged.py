"""Evaluations as the gates of prompts get them, from scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from trimtab.gates.prompts.prompt_inputs import PromptInputs
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.results import Evaluation, Facts, ItemResult, Judging, Mark, Side
from trimtab.policy.llm.section_llm import PromptEvaluation, PromptGates

SIDES = tuple(Side(name=name, prompt_hash=name, endpoint="local", model="m") for name in ("files", "triage/3"))


def evaluation(
    candidate: Any,
    champion: Any = None,
    *,
    kind: Literal["pass_fail", "score"] = "pass_fail",
    gate: str = "quality",
    clusters: Sequence[str] | None = None,
    tags: Sequence[Mapping[str, str]] | None = None,
    format_ok: Any = None,
    answers: Sequence[Answer] | None = None,
    judge: bool = False,
) -> Evaluation:
    """Return an evaluation by one evaluator.

    candidate, champion: scores, (items,) or (items, repeats), NaN: no verdict. champion: None: there is none.
    """
    sides = [np.atleast_2d(np.asarray(each, float).T).T for each in (candidate, champion) if each is not None]
    n, repeats = sides[0].shape
    fits = np.ones((n, repeats), bool) if format_ok is None else np.asarray(format_ok, bool).reshape(n, repeats)
    items = [
        ItemResult(
            id=f"i{k}",
            set="tickets",
            place=f"tickets.jsonl:{k + 1}",
            inputs={},
            tags=tags[k] if tags else {},
            cluster=clusters[k] if clusters else f"i{k}",
            answers=[[answers[k] if answers else Answer(text="x")] * repeats for _ in sides],
            format_ok=[fits[k].tolist() for _ in sides],
            marks={"exact": [[Mark(None if np.isnan(v) else float(v)) for v in side[k]] for side in sides]},
        )
        for k in range(n)
    ]
    facts = Facts(
        prompt="triage",
        sides=SIDES[: len(sides)],
        evaluators=(Judging(name="exact", gate=gate, kind=kind, version="v", judge=judge),),
        quality="exact",
        has_schema=format_ok is not None,
        sets=("tickets/h",),
        repeats=repeats,
        bought=0,
        cached=0,
        cost_pico=0,
        smallest_effect=0.1,
        seed=0,
    )
    return Evaluation(facts=facts, items=tuple(items))


def inputs(found: Evaluation, *, margin: float = 0.1, gates: PromptGates | None = None, **more: Any) -> PromptInputs:
    """Return what the gates judge by, with the policy's defaults."""
    return PromptInputs(evaluation=found, gates=gates or PromptGates(), rules=PromptEvaluation(), margin=margin, **more)
