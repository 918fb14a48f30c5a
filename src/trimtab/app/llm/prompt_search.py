"""Searches for better texts of a prompt with gepa (Agrawal et al. 2025, arXiv 2507.19457).

A language model proposes texts of sections from answers that failed; examples are drawn from the training items. A
proposal is compared with what it came from on few training items; one that is better there goes on to the validation
items.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import msgspec

from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.definitions.llm.evaluators import Item
from trimtab.errors import DataError, MissingExtra
from trimtab.llm.evaluate.results import CANDIDATE, Evaluation, ItemResult
from trimtab.llm.evaluate.runner import Part
from trimtab.llm.prompt_changes import with_changes
from trimtab.llm.prompt_file import EXAMPLES

MINIBATCH = 8
"""Training items on which a proposal is first compared with what it came from."""
MOST_EXAMPLES = 4
MOST_PROPOSALS = 20
"""Where `llm.tune.calls` is left out: a model that costs nothing would be asked for ever."""
AS_BEFORE = "as before"
"""Stands for the examples of the version that a search starts from; other values are JSON lists of ids of items."""

Texts = dict[str, str]
"""What a search changes: section -> text, and EXAMPLES -> AS_BEFORE or ids."""
Evaluate = Callable[[PromptSpec, Sequence[Part]], Awaitable[Evaluation]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found. before, after: mean quality on the validation items. calls: answers that were judged."""

    spec: PromptSpec
    before: float
    after: float
    proposals: int
    calls: int


@dataclass(kw_only=True)
class PromptSearch:
    """One search. gepa runs in a thread of its own; what it asks for runs on the event loop that `run` is awaited on.

    Attributes:
        spec: the version that it starts from.
        parts: sets with the evaluator that decides.
        quality: its name.
        train, validation: items; no cluster is in both.
        evaluate: answers and marks the items of some parts.
        reflect: asks the model that proposes.
        affords: whether one more proposal fits the budget.
        calls: most judged answers; None: of MOST_PROPOSALS proposals.
        tell: is told what goes on.
        seed: of the order of items, and of the examples that are drawn.
    """

    spec: PromptSpec
    parts: Sequence[Part]
    quality: str
    train: Sequence[Item]
    validation: Sequence[Item]
    evaluate: Evaluate
    reflect: Callable[[str], Awaitable[str]]
    affords: Callable[[], bool]
    calls: int | None = None
    tell: Callable[[str], None] = lambda text: None
    seed: int = 0
    proposals: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._shown = {item.id: item for item in self.train if item.expected is not None}
        self._best = -1.0

    async def run(self) -> Found:
        """Search. Raises MissingExtra without gepa, and what `evaluate` and `reflect` raise."""
        try:
            gepa = import_module("gepa")
        except ImportError:
            raise MissingExtra("gepa", "tune") from None
        start = {name: AS_BEFORE if name == EXAMPLES else self.spec.sections[name] for name in self.spec.tune}
        each = len(self.validation) + 2 * MINIBATCH
        optimize = partial(
            gepa.optimize,
            seed_candidate=start,
            trainset=list(self.train),
            valset=list(self.validation),
            adapter=_Adapter(self, asyncio.get_running_loop()),
            reflection_minibatch_size=MINIBATCH,
            max_metric_calls=self.calls or len(self.validation) + MOST_PROPOSALS * each,
            stop_callbacks=self._ends,
            logger=_Silent(),
            seed=self.seed,
        )
        found = await _in_thread(optimize)
        scores = found.val_aggregate_scores
        best = found.best_idx if scores[found.best_idx] > scores[0] else 0
        return Found(
            spec=self.changed(found.candidates[best]) if best else self.spec,
            before=scores[0],
            after=scores[best],
            proposals=self.proposals,
            calls=found.total_metric_calls or 0,
        )

    def changed(self, texts: Texts) -> PromptSpec:
        """Return the version with other texts. Raises DataError for one that is no part of a prompt."""
        sections = {name: text for name, text in texts.items() if name != EXAMPLES}
        ids = texts.get(EXAMPLES, AS_BEFORE)
        if ids == AS_BEFORE:
            return with_changes(self.spec, sections)
        return with_changes(self.spec, sections, [_example(self._shown[id_]) for id_ in msgspec.json.decode(ids)])

    def other_examples(self, ids: str, failed: Sequence[str]) -> str:
        """Return examples with one more of the items that failed, or with one of them in the place of another."""
        now: list[str] = [] if ids == AS_BEFORE else msgspec.json.decode(ids)
        new = [id_ for id_ in failed if id_ in self._shown and id_ not in now]
        if not new:
            return ids
        if len(now) >= MOST_EXAMPLES:
            now.pop(self._chance.randrange(len(now)))
        now.insert(self._chance.randint(0, len(now)), self._chance.choice(new))
        return msgspec.json.encode(now).decode()

    def _ends(self, state: Any) -> bool:
        """Return True when nothing can be better, or one more proposal might not fit the budget."""
        best = max(state.program_full_scores_val_set, default=0.0)
        if best > self._best:
            self._best = best
            self.tell(f"{self.proposals} proposals: {best:.3f} on {len(self.validation)} validation items")
        return best >= 1.0 or not self.affords()


class _Adapter:
    """What gepa calls, in its thread."""

    def __init__(self, search: PromptSearch, loop: asyncio.AbstractEventLoop) -> None:
        self._search, self._loop = search, loop
        self._propose = import_module("gepa.strategies.instruction_proposal").InstructionProposalSignature
        self._batch = import_module("gepa").EvaluationBatch

    def evaluate(self, batch: list[Item], candidate: Texts, capture_traces: bool = False) -> Any:
        """Return outputs and scores of items."""
        search = self._search
        evaluating = search.evaluate(search.changed(candidate), chosen(search.parts, {item.id for item in batch}))
        found = {item.id: item for item in self._wait(evaluating).items}
        results = [found[item.id] for item in batch]
        scores = [item.marks[search.quality][CANDIDATE][0].value or 0.0 for item in results]
        return self._batch(outputs=results, scores=scores, trajectories=results if capture_traces else None)

    def make_reflective_dataset(self, candidate: Texts, batch: Any, components: list[str]) -> dict[str, Any]:
        """Return inputs, answers and feedback; by component the same ones."""
        told = [_told(item, self._search.quality) for item in batch.trajectories]
        return dict.fromkeys(components, told)

    def propose_new_texts(
        self, candidate: Texts, told: Mapping[str, Sequence[Mapping[str, Any]]], components: list[str]
    ) -> Texts:
        """Return other texts of components; a text that is no part of a prompt is dropped."""
        search, found = self._search, Texts()
        for name in components:
            search.proposals += 1
            if name == EXAMPLES:
                failed = [each[ID] for each in told[name] if each[VALUE] < 1]
                found[name] = search.other_examples(candidate[name], failed)
                continue
            shown = [{key: each[key] for key in SHOWN} for each in told[name]]
            found[name] = self._propose.run(
                lm=lambda prompt: self._wait(search.reflect(prompt)),
                input_dict={
                    "current_instruction_doc": candidate[name],
                    "dataset_with_feedback": shown,
                    "prompt_template": None,
                },
            )["new_instruction"]
            try:
                search.changed({**candidate, **found})
            except DataError as error:
                search.tell(f"a proposal is dropped: {error}")
                found[name] = candidate[name]
        return found

    def _wait(self, asked: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(_as_coroutine(asked), self._loop).result()


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Run work in a thread that does not keep the process: after Ctrl-C no answer comes that it could wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # of the endpoint, the budget or gepa: raised where it is awaited
            loop.call_soon_threadsafe(_fail, done, error)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=run, name="search", daemon=True).start()
    return await done


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


async def _as_coroutine(asked: Awaitable[Any]) -> Any:
    return await asked


class _Silent:
    def log(self, message: str) -> None:
        """Drop a line of gepa's log; `tell` says what users need."""


ID, VALUE = "id", "value"
SHOWN = ("Inputs", "Generated Outputs", "Feedback")
"""What the proposing model reads of an answer."""


def _told(item: ItemResult, quality: str) -> dict[str, Any]:
    mark, answer = item.marks[quality][CANDIDATE][0], item.answers[CANDIDATE][0]
    value = mark.value or 0.0
    said = [f"This is right: {value:g} of 1." if value >= 1 else f"This is not right: {value:g} of 1."]
    if mark.reason:
        said.append(mark.reason)
    if item.expected is not None:
        said.append(f"Expected: {_text(item.expected)}")
    return {
        ID: item.id,
        VALUE: value,
        "Inputs": _text(item.inputs),
        "Generated Outputs": answer.text or answer.refusal or answer.error or "",
        "Feedback": " ".join(said),
    }


def _example(item: Item) -> dict[str, Any]:
    messages = item.inputs.get("messages")
    if messages is None:
        return {"inputs": dict(item.inputs), "expected": item.expected}
    asked = next(each["content"] for each in reversed(messages) if each["role"] == "user")
    return {"user": asked, "assistant": _text(item.expected)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def chosen(parts: Sequence[Part], ids: set[str]) -> list[Part]:
    """Return parts with some of their items alone; a part without any is left out."""
    found = []
    for part in parts:
        kept = [n for n, item in enumerate(part.items.items) if item.id in ids]
        if kept:
            items = replace(
                part.items,
                items=tuple(part.items.items[n] for n in kept),
                places=tuple(part.items.places[n] for n in kept),
            )
            found.append(replace(part, items=items))
    return found
