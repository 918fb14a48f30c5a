"""Tunes a prompt: searches on some of its items, and lets the best version pass the gates once on items held out.

What passes, and is better than the champion there, challenges it as any other version does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from trimtab.app.llm.evaluating import Evaluating, Options, Version, compared_with
from trimtab.app.llm.paid_calls import detecting, with_budget
from trimtab.app.llm.prompt_search import MINIBATCH, Found, PromptSearch, chosen
from trimtab.app.llm.prompt_stages import Judged, evaluate
from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.prompt_spec import PromptSpec, TargetSpec
from trimtab.definitions.llm.evaluators import Item
from trimtab.errors import DataError, PolicyError, StageError, UsageError, nearest
from trimtab.gates.prompts.prompt_inputs import result
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.buying import Buyer, bound_tokens
from trimtab.llm.evaluate.results import Evaluation
from trimtab.llm.evaluate.runner import Course, Part, Purpose
from trimtab.llm.money.spend_scopes import PICO, pico
from trimtab.llm.money.turn_cost import cost_bound
from trimtab.llm.prompt_assembly import target_spec
from trimtab.policy.reader import line_of
from trimtab.records.gate_reports import GateResult
from trimtab.records.training import Run
from trimtab.units import plural

FEWEST = (30, 30, 50)
"""Items for training, validation and the test at the end."""
MOST_VALIDATION = 64
"""Every proposal that is better on few items is judged on all of these."""
REFLECTION_TOKENS = 2048
BETTER = "better"
HELD_OUT = "held_out"
"""Parameter of a run: hash of the items that it was judged on."""


class SplitItems(NamedTuple):
    """Items by their use; those of a cluster have one use."""

    train: Sequence[Item]
    validation: Sequence[Item]
    held_out: Sequence[Item]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search came to.

    Attributes:
        found: the best version on the validation items.
        begun: the version that the search began with.
        champion: its name.
        judged: the best version on the items held out; None where none was better before.
        level: the p-value that it had to be below.
        search: number of the search on these items, from 1.
        cost: of the search, in the currency of the policy.
    """

    found: Found
    begun: PromptSpec
    champion: str
    judged: Judged | None
    level: float
    search: int
    cost: float

    @property
    def accepted(self) -> bool:
        """Whether it may challenge the champion."""
        return self.judged is not None and self.judged.report.verdict != "fail"


def tune(
    workspace: Workspace,
    prompt: str,
    *,
    max_cost: float | None = None,
    calls: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Search for a better version of a prompt than its champion, and judge the best one once.

    Args:
        workspace: of the project.
        prompt: its name.
        max_cost: most that the search may spend; None: `llm.tune.budget`.
        calls: most judged answers of the search; None: `llm.tune.calls`.
        seed: of the search.
        tell: is told what goes on.

    Raises:
        StageError: nothing serves yet.
        UsageError: the prompt names nothing that may change, or has too few items.
        MissingExtra: gepa is not installed.
        EvaluationStopped: the budget is spent.
    """
    rules = workspace.project.policy.llm.tune
    champion = compared_with(workspace, prompt)
    if champion is None:
        raise StageError(f"nothing serves for prompt '{prompt}' yet, so nothing can be made better; run: trimtab run")
    spec = champion.spec
    if not spec.tune:
        raise UsageError(
            f"prompt '{prompt}': its front matter names nothing that a search may change; add such as "
            "tune: [instructions, examples]"
        )
    whole = Evaluating(
        workspace=workspace,
        prompt=workspace.project.definitions.prompt(prompt),
        candidate=champion,
        champion=None,
        options=Options(),
    )
    parts = [
        replace(part, evaluators=deciding)
        for part in whole.parts
        if (deciding := [each for each in part.evaluators if each.name == whole.quality])
    ]
    items = split(parts, validation=rules.validation, held_out=rules.held_out)
    _expect_enough(prompt, items)
    cap = rules.budget if max_cost is None else max_cost
    paid = _Paid()
    target = _reflecting(workspace, spec)

    async def search(buyer: Buyer) -> Found:
        buy = paid.by(buyer)
        redactor = detecting(workspace)
        course = Course(repeats=1, max_repeats=1, concurrent=workspace.project.policy.llm.evaluate.concurrent)

        async def evaluated(version: PromptSpec, some: Sequence[Part]) -> Evaluation:
            return await whole.runner(buy, course, [Version(name="proposal", spec=version)], some).run()

        async def reflected(text: str) -> str:
            shown = redactor.turn().shown(text)
            body = {"messages": [{"role": "user", "content": shown}], "max_completion_tokens": REFLECTION_TOKENS}
            answer: Answer = await buy(target, body, purpose="tune")
            return answer.text

        bound = _bound(whole, parts, items, champion, target, course)
        searched = PromptSearch(
            spec=spec,
            parts=parts,
            quality=whole.quality,
            train=items.train,
            validation=items.validation,
            evaluate=evaluated,
            reflect=reflected,
            affords=lambda: paid.pico + bound <= pico(cap, "llm.tune.budget"),
            calls=calls or rules.calls,
            tell=tell,
            seed=seed,
        )
        return await searched.run()

    least = len(items.validation) + 3 * (2 * MINIBATCH + len(items.validation))
    tell(
        f"{plural(len(items.train), 'item')} for training, {len(items.validation)} for validation, "
        f"{len(items.held_out)} held out"
    )
    if (most := calls or rules.calls) is not None and most < least:
        tell(f"{most} calls are few: {least} are enough for three proposals that go on to validation")
    found = with_budget(workspace, whose=f"tune-{prompt}", cap=cap, prompt=prompt, work=search, key="llm.tune.budget")
    digest = hashlib.sha256(msgspec.json.encode(sorted(item.id for item in items.held_out))).hexdigest()[:16]
    number = 1 + _searches(workspace, prompt, digest)
    level = rules.accept_p / (number * (number + 1))
    judged = None
    if found.after > found.before:
        tell(f"the best of {found.proposals} proposals is judged once on {len(items.held_out)} items held out")
        tuned = Version(name="tuned", spec=found.spec)
        held_out = replace(whole, candidate=tuned, champion=champion, only=digest, tell=tell)
        held_out.parts = chosen(whole.parts, {item.id for item in items.held_out})
        judged = evaluate(
            held_out,
            purpose="tune",
            facts={HELD_OUT: digest, "search": number, "proposals": found.proposals, "champion": champion.name},
            also=lambda results: better(results, whole.quality, level=level, number=number),
        )
    return Tuned(
        found=found,
        begun=spec,
        champion=champion.name,
        judged=judged,
        level=level,
        search=number,
        cost=paid.pico / PICO,
    )


def split(parts: Sequence[Part], *, validation: float, held_out: float) -> SplitItems:
    """Return the items of sets by their use, which a hash of the cluster decides: further items change no other's."""
    found: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for part in parts:
        for item, cluster in zip(part.items.items, part.items.clusters, strict=True):
            place = int.from_bytes(hashlib.blake2b(cluster.encode(), digest_size=8).digest()) / 2**64
            found[2 if place < held_out else 1 if place < held_out + validation else 0].append(item)
    train, some, last = found
    return SplitItems(train, sorted(some, key=lambda item: item.id)[:MOST_VALIDATION], last)


class _Paid:
    """What a search has spent."""

    def __init__(self) -> None:
        self.pico = 0

    def by(self, buyer: Buyer) -> Any:
        """Return what buys for the purpose `tune`."""

        async def buy(target: TargetSpec, body: Mapping[str, Any], *, purpose: Purpose) -> Answer:
            answer = await buyer(target, body, purpose="tune")
            self.pico += answer.cost_pico
            return answer

        return buy


def _bound(
    whole: Evaluating,
    parts: Sequence[Part],
    items: SplitItems,
    champion: Version,
    reflecting: TargetSpec,
    course: Course,
) -> int:
    """Return what one proposal may cost at most, in 1e-12 of the currency."""
    at = whole.workspace.now()

    async def never(target: TargetSpec, body: Mapping[str, Any], *, purpose: Purpose) -> Answer:
        raise AssertionError("nothing is bought here")

    runner = whole.runner(
        never, replace(course, fresh=True), [champion], chosen(parts, {i.id for i in items.validation})
    )
    costs = [cost_bound(target, at, *bound_tokens(body)) for _, target, body in runner.purchases()]
    dearest = max(costs)
    told = {"messages": [{"role": "user", "content": "x" * 20_000}], "max_completion_tokens": REFLECTION_TOKENS}
    return sum(costs) + 2 * MINIBATCH * dearest + cost_bound(reflecting, at, *bound_tokens(told))


def _reflecting(workspace: Workspace, spec: PromptSpec) -> TargetSpec:
    """Return the model that proposes."""
    rules, definitions = workspace.project.policy.llm.tune, workspace.project.definitions
    path = workspace.project.folder / POLICY
    if rules.endpoint is None and rules.model is None:
        return spec.target
    name = rules.endpoint or spec.target.endpoint.name
    endpoint = definitions.endpoints.get(name)
    if endpoint is None:
        where = f"{path}:{line_of(path, 'llm.tune.endpoint')}: llm.tune.endpoint"
        raise PolicyError(f"{where}: definitions.py has no endpoint '{name}'.{nearest(name, definitions.endpoints)}")
    return target_spec(endpoint, rules.model or spec.target.model, f"{path}: llm.tune.model")


def _expect_enough(prompt: str, items: SplitItems) -> None:
    for use, found, least in zip(("training", "validation", "the test at the end"), items, FEWEST, strict=True):
        if len(found) < least:
            raise UsageError(
                f"prompt '{prompt}' has {plural(len(found), 'item')} for {use}, and a search needs {least}; add "
                f"examples, {sum(FEWEST)} and more in all, or change llm.tune.validation and llm.tune.held_out"
            )


def _searches(workspace: Workspace, prompt: str, held_out: str) -> int:
    """Return how many searches were judged on some items."""
    runs = workspace.metadata.find(Run, model=prompt)
    return sum(run.purpose == "tune" and run.params.get(HELD_OUT) == held_out for run in runs)


def better(results: Sequence[GateResult], quality: str, *, level: float, number: int) -> GateResult:
    """Hold the p-value of the quality against the level of this search.

    The levels of all searches on the same items add up to `llm.tune.accept_p`.
    """
    found = next(each for each in results if each.gate == "quality" and each.metric == quality)
    p = found.details.get("p")
    if p is None:
        raise DataError(f"evaluator '{quality}' gave no verdict on the items held out")
    said = f"{quality}: p {p:.2g} that it is no better; search {number} on these items accepts below {level:.2g}"
    if found.verdict == "warn":
        said += "; it decides nothing, as the gate of the quality says"
    return result(
        BETTER, quality, "pass" if p < level and found.verdict == "pass" else "fail", said, value=p, threshold=level
    )
