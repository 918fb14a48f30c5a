"""Reads and writes large bodies in a thread, so that the requests of others are answered meanwhile.

Python code in a thread gives way to the event loop within SWITCH_S, a single call of a C function does not. What runs
here therefore works in pieces (`json_text.read`, `mlflow_csv`, `mlflow_parquet`). There is one thread: two would take
turns with one another before the event loop gets its own.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from trimtab.serving.requests import SHORT_ROWS, InferenceResponse

SMALL = 32 * 2**10
"""Bytes of a body that is read on the event loop: that takes less than a millisecond."""
SWITCH_S = 0.001
"""Longest that Python code in the thread holds the interpreter when the event loop wants it; Python's own is 5 ms."""

P = ParamSpec("P")
T = TypeVar("T")


def _prepare() -> None:
    np.seterr(over="ignore")  # a feature beyond float32 is infinite; each thread has a setting of its own


def _call(function: Callable[[], T]) -> T:
    """Call a function with the garbage collector off: it would scan all values read so far, again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return function()
    finally:
        if collects:
            gc.enable()


class Decoding:
    """The thread. Lives on one event loop; starts when it is first needed."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    async def read(
        self, decode: Callable[Concatenate[bytes, P], T], body: bytes, *args: P.args, **named: P.kwargs
    ) -> T:
        """Return what a decoder makes of a body. Raises what it raises."""
        if len(body) <= SMALL:
            return decode(body, *args, **named)
        return await self.run(decode, body, *args, **named)

    async def write(
        self,
        encode: Callable[Concatenate[InferenceResponse, P], T],
        response: InferenceResponse,
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        """Return what an encoder makes of a response."""
        if len(response.scores) <= SHORT_ROWS:
            return encode(response, *args, **named)
        return await self.run(encode, response, *args, **named)

    async def run(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Return what a function returns, called in the thread. Raises what it raises."""
        if self._thread is None:
            sys.setswitchinterval(SWITCH_S)
            self._thread = ThreadPoolExecutor(1, "decoding", _prepare)
        return await asyncio.wrap_future(self._thread.submit(_call, partial(function, *args, **named)))

    def close(self) -> None:
        """End the thread; calls that have not begun are cancelled."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
