"""Runs an evaluation: both versions answer the same items, evaluators and judges mark the answers.

Where answers to one item may differ from run to run, 30 items are answered twice first, and the least number of
repeats is taken with which the spread between runs adds at most a half to the spread between items.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from trimtab.bundle.prompt_spec import TargetSpec
from trimtab.definitions.llm.evaluators import Evaluator, Item, Judge, Turn
from trimtab.llm.answer_format import AnswerSchema, read_answer
from trimtab.llm.evaluate.answer_cache import Answer, AnswerCache
from trimtab.llm.evaluate.answer_marks import mark_of, turn_of
from trimtab.llm.evaluate.asking import Job, ask_all, interleaved
from trimtab.llm.evaluate.items import ItemSet
from trimtab.llm.evaluate.judge_calls import combined, judge_request, read_verdict, verdict_keys
from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation, Facts, ItemResult, Judging, Mark, Side
from trimtab.stats.paired.repeats import next_repeats, repeat_variance

BYTES_PER_TOKEN = 4
"""Of an answer that is yet to come."""
Purpose = Literal["eval", "judge", "tune"]
PILOT = 30
"""Items that are answered twice before the number of repeats is chosen."""


class Buy(Protocol):
    """Asks an endpoint and pays."""

    async def __call__(self, target: TargetSpec, body: Mapping[str, Any], *, purpose: Purpose) -> Answer:
        """Return the answer. A request that the endpoint refuses for its content gives one with `error`.

        Raises what ends an evaluation: an endpoint that does not answer, a budget that is spent.
        """
        ...


class Request(NamedTuple):
    """What is sent for one item: messages are part of the body. documents: ids of those that were put in."""

    body: Mapping[str, Any]
    documents: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A version of a prompt that is evaluated.

    Attributes:
        side: how results name it.
        target: where it runs.
        request: makes the request for an item; errors name its place.
        schema: of its answers; None: any text.
        tools: names of its tools.
        key: what its answers depend on, as a hash.
    """

    side: Side
    target: TargetSpec
    request: Callable[[Item, str], Request]
    schema: AnswerSchema | None
    key: str
    tools: Collection[str] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A set of a prompt with its evaluators. version: id of the set's record. targets: of the judges, by name."""

    items: ItemSet
    version: str
    evaluators: Sequence[Evaluator | Judge]


@dataclass(frozen=True, kw_only=True)
class Course:
    """How an evaluation goes.

    Attributes:
        repeats: answers to each item, at least.
        max_repeats: at most; equal to `repeats`: exactly so many.
        concurrent: calls at once.
        seed: of the order and of the items that are answered twice first.
        smallest_effect: what the items can show, by what is known before.
        fresh: whether answers of earlier evaluations do not count.
    """

    repeats: int
    max_repeats: int
    concurrent: int
    seed: int = 0
    smallest_effect: float = 0.0
    fresh: bool = False


class Entry(NamedTuple):
    """An item of a part."""

    part: Part
    item: Item
    place: str
    cluster: str


@dataclass(kw_only=True)
class Runner:
    """One evaluation. sides: the candidate, and the champion where there is one."""

    prompt: str
    quality: str
    sides: Sequence[Contestant]
    parts: Sequence[Part]
    judges: Mapping[str, TargetSpec]
    buy: Buy
    cache: Path
    project: Path
    now: Callable[[], float]
    course: Course
    personal_data: Callable[[str], Sequence[str]] | None = None
    """Returns the kinds of personal data in a text."""
    tell: Callable[[str], None] = lambda text: None
    """Is told what goes on, in words."""
    bought: int = field(default=0, init=False)
    cached: int = field(default=0, init=False)
    verdicts_bought: int = field(default=0, init=False)
    verdicts_cached: int = field(default=0, init=False)
    paid_pico: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._concurrent = self.course.concurrent
        self._entries = [
            Entry(part, item, place, cluster)
            for part in self.parts
            for item, place, cluster in zip(part.items.items, part.items.places, part.items.clusters, strict=True)
        ]
        self._requests: dict[tuple[int, int], Request] = {
            (side, n): contestant.request(entry.item, entry.place)
            for side, contestant in enumerate(self.sides)
            for n, entry in enumerate(self._entries)
        }
        read = not self.course.fresh
        self._answers = [AnswerCache(self.cache, s.key, now=self.now, read=read) for s in self.sides]
        self._verdicts = {
            judge.name: AnswerCache(self.cache, f"judge-{judge.version}", now=self.now, read=read)
            for judge in self._judges()
        }
        self._found: dict[Job, Answer] = {}
        self._turns: dict[Job, Turn] = {}
        self._marks: dict[tuple[Job, str], Mark] = {}
        self._scored: set[str] = {judge.name for judge in self._judges() if judge.scale == "score"}

    @property
    def size(self) -> int:
        """Items over all sets."""
        return len(self._entries)

    def purchases(self, repeats: int | None = None) -> Iterator[tuple[Purpose, TargetSpec, Mapping[str, Any]]]:
        """Yield what is to be bought, as far as the cache has it not: purpose, target and request.

        repeats: answers to each item; None: the least number. For requests of judges, answers that are yet to come
        have their longest length.
        """
        pilot, runs = set(self._pilot()), max(2, self.course.repeats)
        for side, n in self._requests:
            for k in range(repeats or (runs if n in pilot else self.course.repeats)):
                job = Job(side, n, k)
                body, known = self.body(job), self._answers[side].get(self._key(job))
                if known is None:
                    yield "eval", self.sides[side].target, body
                turn = turn_of(known or Answer(text="x" * longest(body)), body["messages"], None, format_ok=True)
                for judge in self.judges_of(job):
                    asked = judge_request(judge, turn, self._entries[n].item)
                    cache = self._verdicts[judge.name]
                    for key in verdict_keys(judge, asked):
                        if known is None or cache.get(key) is None:
                            yield "judge", self.judges[judge.name], asked

    def judges_of(self, job: Job) -> list[Judge]:
        """Return the judges of an answer."""
        return [each for each in self._entries[job.item].part.evaluators if isinstance(each, Judge)]

    def body(self, job: Job) -> Mapping[str, Any]:
        """Return the request of a job."""
        return self._requests[job.side, job.item].body

    async def run(self) -> Evaluation:
        """Return the evaluation. Answers that were bought are in the cache also when it raises."""
        repeats = await self._repeats()
        await self._answer(range(self.size), repeats)
        return self._evaluation(repeats)

    async def _repeats(self) -> int:
        """Return how often each item is answered."""
        course, pilot = self.course, self._pilot()
        if not pilot:
            return course.repeats
        runs = max(2, course.repeats)
        await self._answer(pilot, runs)
        scores = [
            np.array([[self._value(Job(side, n, k)) for k in range(runs)] for n in pilot])
            for side in (CANDIDATE, CHAMPION)
        ]
        found = repeat_variance(scores[CHAMPION], scores[CANDIDATE])
        chosen = max(next_repeats(found, course.max_repeats), course.repeats)
        if chosen > course.repeats:
            self.tell(f"answers to the same item differ from run to run, so each item is answered {chosen} times")
        return chosen

    def _pilot(self) -> list[int]:
        """Return the items that are answered twice before the number of repeats is chosen; none where it is fixed."""
        course = self.course
        if len(self.sides) < 2 or course.max_repeats <= course.repeats:
            return []
        judged = [n for n, entry in enumerate(self._entries) if self.quality in _names(entry.part)]
        return sorted(random.Random(course.seed).sample(judged, min(PILOT, len(judged)))) if len(judged) > 1 else []

    def _value(self, job: Job) -> float:
        return self._marks[job, self.quality].value or 0.0

    async def _answer(self, items: Sequence[int], repeats: int) -> None:
        """Have items answered and marked, so far as they are not."""
        chosen = interleaved(len(self.sides), list(items), range(repeats), seed=self.course.seed)
        jobs = [job for job in chosen if job not in self._found]
        self._found |= await ask_all(jobs, self._ask, concurrent=self._concurrent)
        for job in jobs:
            self._mark(job)
        verdicts = [(job, judge) for job in jobs if not self._found[job].error for judge in self.judges_of(job)]
        keys = {(job, judge.name): self._verdict_keys(job, judge) for job, judge in verdicts}
        wanted = {key: (job, judge) for job, judge in verdicts for key in keys[job, judge.name]}
        replies = await ask_all(list(wanted), lambda key: self._judge(key, *wanted[key]), concurrent=self._concurrent)
        for job, judge in verdicts:
            score = combined(judge, [read_verdict(judge, replies[key].text) for key in keys[job, judge.name]])
            self._marks[job, judge.name] = Mark(None if score.value is None else float(score.value), score.reason)

    async def _ask(self, job: Job) -> Answer:
        cache, key = self._answers[job.side], self._key(job)
        if (known := cache.get(key)) is not None:
            self.cached += 1
            return known
        request = self._requests[job.side, job.item]
        answer = await self.buy(self.sides[job.side].target, request.body, purpose="eval")
        answer = msgspec.structs.replace(answer, document_ids=request.documents, at=self.now())
        self._keep(cache, key, answer)
        return answer

    async def _judge(self, key: str, job: Job, judge: Judge) -> Answer:
        cache = self._verdicts[judge.name]
        if (known := cache.get(key)) is not None:
            self.cached += 1
            self.verdicts_cached += 1
            return known
        body = judge_request(judge, self._turns[job], self._entries[job.item].item)
        answer = await self.buy(self.judges[judge.name], body, purpose="judge")
        answer = msgspec.structs.replace(answer, at=self.now())
        self._keep(cache, key, answer)
        self.verdicts_bought += 1
        return answer

    def _keep(self, cache: AnswerCache, key: str, answer: Answer) -> None:
        cache.put(key, answer)
        self.bought += 1
        self.paid_pico += answer.cost_pico

    def _key(self, job: Job) -> str:
        return f"{self._entries[job.item].item.id}/{job.repeat}"

    def _verdict_keys(self, job: Job, judge: Judge) -> list[str]:
        return verdict_keys(judge, judge_request(judge, self._turns[job], self._entries[job.item].item))

    def _mark(self, job: Job) -> None:
        """Make the turn of an answer, and mark it by all evaluators that are functions."""
        entry, answer, contestant = self._entries[job.item], self._found[job], self.sides[job.side]
        parsed, wrong = read_answer(
            answer.text, answer.tool_calls, answer.refusal, schema=contestant.schema, tools=contestant.tools
        )
        self._turns[job] = turn = turn_of(
            answer,
            self.body(job)["messages"],
            parsed,
            format_ok=not (wrong or answer.error),
            personal_data=None if self.personal_data is None else self.personal_data(answer.text),
        )
        for each in entry.part.evaluators:
            if answer.error and (isinstance(each, Judge) or each.gate == "quality"):
                self._marks[job, each.name] = Mark(0.0, f"the endpoint refused the request: {answer.error}")
            elif isinstance(each, Evaluator):
                mark, is_verdict = mark_of(each, turn, entry.item, place=entry.place, project=self.project)
                self._marks[job, each.name] = mark
                if mark.value is not None and not is_verdict:
                    self._scored.add(each.name)

    def _judges(self) -> list[Judge]:
        found = {each.name: each for part in self.parts for each in part.evaluators if isinstance(each, Judge)}
        return list(found.values())

    def _evaluation(self, repeats: int) -> Evaluation:
        evaluators = {each.name: each for part in self.parts for each in part.evaluators}
        facts = Facts(
            prompt=self.prompt,
            sides=tuple(each.side for each in self.sides),
            evaluators=tuple(
                Judging(
                    name=name,
                    gate="quality" if isinstance(each, Judge) else each.gate,
                    kind="score" if name in self._scored else "pass_fail",
                    version=each.version,
                    judge=isinstance(each, Judge),
                )
                for name, each in evaluators.items()
            ),
            quality=self.quality,
            has_schema=self.sides[CANDIDATE].schema is not None or bool(self.sides[CANDIDATE].tools),
            sets=tuple(part.version for part in self.parts),
            repeats=repeats,
            bought=self.bought,
            cached=self.cached,
            verdicts_bought=self.verdicts_bought,
            verdicts_cached=self.verdicts_cached,
            cost_pico=self.paid_pico,
            smallest_effect=self.course.smallest_effect,
            seed=self.course.seed,
        )
        return Evaluation(facts=facts, items=tuple(self._item(n) for n in range(self.size)))

    def _item(self, n: int) -> ItemResult:
        entry, sides = self._entries[n], range(len(self.sides))
        runs = range(max(self.course.max_repeats, 2))
        jobs = [[job for k in runs if (job := Job(side, n, k)) in self._found] for side in sides]
        tags = dict(entry.item.tags)
        if len(self.parts) > 1:
            tags["set"] = entry.part.items.name
        return ItemResult(
            id=entry.item.id,
            set=entry.part.items.name,
            place=entry.place,
            inputs=entry.item.inputs,
            expected=entry.item.expected,
            tags=tags,
            cluster=entry.cluster,
            question=_last_question(self.body(Job(CANDIDATE, n, 0))["messages"]),
            answers=[[self._found[job] for job in each] for each in jobs],
            format_ok=[[self._turns[job].format_ok for job in each] for each in jobs],
            marks={name: [[self._marks[job, name] for job in each] for each in jobs] for name in _names(entry.part)},
        )


def longest(body: Mapping[str, Any]) -> int:
    """Return about how many characters an answer may have."""
    return BYTES_PER_TOKEN * int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)


def _last_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last message of the user."""
    found = next((each.get("content") for each in reversed(messages) if each.get("role") == "user"), "")
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _names(part: Part) -> list[str]:
    return [each.name for each in part.evaluators]
