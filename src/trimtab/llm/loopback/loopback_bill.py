"""The bill of the loopback provider: what it was asked, what it answered, and what it charges for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

KEPT, KEPT_BYTES = 10_000, 64 * 2**20
"""Requests whose details are kept, and most bytes of their bodies; totals count all."""


class BilledCall(msgspec.Struct, kw_only=True):
    """One request.

    Tokens are those that it charges for: none for an answer without status 200, else the whole input, and of the output
    what it had generated when the client hung up. input_tokens holds cached and written ones, too; output_tokens hidden
    ones.

    Attributes:
        number: from 0, over all requests.
        at: seconds from the start of the provider.
        ended_at: when the answer was whole, or the client or the provider hung up; None before.
        headers: of the request, names in lower case.
        body: of the request.
        hung_up: whether the client hung up before the answer was whole.
        sent_tokens: visible tokens that were sent.
    """

    number: int
    at: float
    path: str
    model: str = ""
    headers: Mapping[str, str] = {}
    body: Any = None
    stream: bool = False
    status: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    sent_tokens: int = 0
    hung_up: bool = False
    ended_at: float | None = None


class BillTotals(msgspec.Struct, kw_only=True):
    """Sums over all requests that have ended."""

    requests: int = 0
    answered: int = 0
    hung_up: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Bill:
    """All requests of one provider. The server's thread writes it; other threads may read."""

    def __init__(self) -> None:
        self._calls: deque[tuple[BilledCall, int]] = deque()
        self._bytes = 0
        self.totals = BillTotals()
        self.begun = 0

    @property
    def calls(self) -> list[BilledCall]:
        """The newest requests, oldest first."""
        return [call for call, _ in list(self._calls)]

    def begin(self, path: str, headers: Mapping[str, str], at: float, size: int) -> BilledCall:
        """Note a request. size: of its body."""
        found = BilledCall(number=self.begun, at=at, path=path, headers=headers)
        self.begun += 1
        self._calls.append((found, size))
        self._bytes += size
        while len(self._calls) > KEPT or (self._bytes > KEPT_BYTES and len(self._calls) > 1):
            self._bytes -= self._calls.popleft()[1]
        return found

    def end(self, call: BilledCall, at: float) -> None:
        """Note the end of its answer."""
        call.ended_at = at
        self.totals.requests += 1
        self.totals.answered += call.status == 200
        self.totals.hung_up += call.hung_up
        for name in ("input", "cached", "cache_write", "output", "reasoning"):
            field = f"{name}_tokens"
            setattr(self.totals, field, getattr(self.totals, field) + getattr(call, field))

    def clear(self) -> None:
        """Begin a new bill."""
        self._calls.clear()
        self._bytes = 0
        self.totals = BillTotals()
