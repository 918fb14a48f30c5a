"""Asks endpoints for many answers at once: in random order, so many at a time, each job once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

J = TypeVar("J", bound=Hashable)
A = TypeVar("A")


class Job(NamedTuple):
    """One answer: of a side (0 the candidate, 1 the champion) to an item, by its index; repeat: from 0."""

    side: int
    item: int
    repeat: int


def interleaved(sides: int, items: Sequence[int], repeats: range, *, seed: int) -> list[Job]:
    """Return the jobs of some items in random order, those of one item and repeat next to each other.

    Both sides are so asked in the same minute, in random order: what changes at the endpoint changes for both.
    """
    chance = random.Random(seed)
    pairs = [(item, repeat) for item in items for repeat in repeats]
    chance.shuffle(pairs)
    return [Job(side, item, repeat) for item, repeat in pairs for side in chance.sample(range(sides), sides)]


async def ask_all(jobs: Sequence[J], ask: Callable[[J], Awaitable[A]], *, concurrent: int) -> dict[J, A]:
    """Return the answer to each job. After an error no call begins; those under way are awaited.

    concurrent: most calls at once.
    """
    waiting, found, failed = iter(jobs), dict[J, A](), list[Exception]()

    async def work() -> None:
        for job in waiting:
            if failed:
                return
            try:
                found[job] = await ask(job)
            except Exception as error:
                failed.append(error)

    await asyncio.gather(*(work() for _ in range(min(concurrent, len(jobs)))))
    if failed:
        raise failed[0]
    return found
