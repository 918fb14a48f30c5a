"""Batches that one thread takes while the next one gathers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from trimtab.serving.thread_batcher import ThreadBatcher


class Numbers:
    """Numbers that wait, and the batches that were taken of them."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.waiting: list[int] = []
        self.begun: list[list[int]] = []
        self.ended: list[tuple[list[int], BaseException | None]] = []
        self.free = threading.Event()
        self.at_once = at_once
        self.thread = ThreadBatcher("numbers", take=self._take, run=self._run, ended=self._ended)

    def _take(self) -> tuple[list[int], bool] | None:
        taken, self.waiting = self.waiting, []
        return (taken, self.at_once) if taken else None

    def _run(self, batch: list[int]) -> None:
        self.begun.append(batch)
        if 0 in batch:
            raise ValueError("zero")
        assert self.at_once or self.free.wait(20)

    def _ended(self, batch: list[int], error: BaseException | None) -> None:
        self.ended.append((batch, error))
        self.thread.begin()


@pytest.fixture
def numbers() -> Iterator[Numbers]:
    made = Numbers()
    yield made
    made.free.set()
    made.thread.close(wait=True)


def test_what_comes_during_a_call_is_the_next_batch(numbers: Numbers) -> None:
    for number in (1, 2, 3):
        numbers.waiting.append(number)
        numbers.thread.begin()
    numbers.free.set()
    numbers.thread.wait()
    numbers.thread.wait()
    assert numbers.ended == [([1], None), ([2, 3], None)]
    assert not numbers.thread.busy


def test_an_error_of_the_thread_or_of_a_call_at_once_is_handed_over() -> None:
    for at_once in (True, False):
        numbers = Numbers(at_once=at_once)
        numbers.waiting.append(0)
        numbers.thread.begin()
        numbers.thread.wait()
        [(batch, error)] = numbers.ended
        assert batch == [0]
        assert str(error) == "zero"
        numbers.thread.close()


def test_a_call_that_is_given_up_ends_once(numbers: Numbers) -> None:
    async def scenario() -> None:
        numbers.thread.loop = asyncio.get_running_loop()
        numbers.waiting.append(1)
        numbers.thread.begin()
        numbers.thread.wait(0.0)
        numbers.free.set()
        numbers.waiting.append(2)
        numbers.thread.begin()
        while len(numbers.ended) < 2:
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert [(batch, type(error)) for batch, error in numbers.ended] == [([1], TimeoutError), ([2], type(None))]


def test_the_loop_begins_one_batch_however_often_it_is_told() -> None:
    async def scenario() -> None:
        numbers = Numbers(at_once=True)
        numbers.thread.loop = asyncio.get_running_loop()
        for number in count(1):
            numbers.waiting.append(number)
            numbers.thread.later(0.0) if number == 1 else numbers.thread.soon()
            assert numbers.thread.pending
            if number == 4:
                break
        while not numbers.ended:
            await asyncio.sleep(0)
        assert numbers.begun == [[1, 2, 3, 4]]
        assert not numbers.thread.pending
        numbers.thread.close()

    asyncio.run(scenario())
