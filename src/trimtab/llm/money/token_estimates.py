"""Tokens of turns whose endpoint reports none: bytes by the running median of its own bytes per token."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from trimtab.llm.completion import Usage

FIRST = 3.0
"""Bytes per token before FEWEST turns have been reported: more tokens than most tokenizers make of text."""
FEWEST = 100
WINDOW = 1001
"""Newest reported turns of which the median is taken."""


class RunningMedian:
    """Median of the newest WINDOW values."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, value: float) -> None:
        """Take a value in."""
        if len(self._newest) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]
        self._newest.append(value)
        insort(self._sorted, value)

    @property
    def value(self) -> float | None:
        """The median; None before FEWEST values."""
        return self._sorted[len(self._sorted) // 2] if len(self._sorted) >= FEWEST else None


class BytesPerToken:
    """What a model, or a whole endpoint, has reported. Input and output apart; hidden reasoning is in the output."""

    def __init__(self, wider: BytesPerToken | None = None) -> None:
        """wider: of the endpoint, which stands in for a model that has reported too little. It learns, too."""
        self._input, self._output = RunningMedian(), RunningMedian()
        self._wider = wider

    def learn(self, sent: int, received: int, usage: Usage) -> None:
        """Take a reported turn in: its bytes; its tokens with cached ones in the input, reasoning in the output."""
        if sent and usage.input:
            self._input.add(sent / usage.input)
        if received and usage.output:
            self._output.add(received / usage.output)
        if self._wider is not None:
            self._wider.learn(sent, received, usage)

    def estimate(self, sent: int, received: int) -> Usage:
        """Return the tokens of a turn that was not reported: at least one where there are bytes."""
        ratios = self._ratios()
        read, written = (-int(-size // ratio) for size, ratio in zip((sent, received), ratios, strict=True))
        return Usage(input=read, output=written, kind="estimated")

    def _ratios(self) -> tuple[float, float]:
        read, written = self._wider._ratios() if self._wider is not None else (FIRST, FIRST)
        return self._input.value or read, self._output.value or written
