"""Prints a result table and decides which limits are met."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt

Verdict = Literal["", "held", "NOT held", "too few streams"]
# A miss by less than two standard errors is put down to the number of streams.
NOISE_SE = 2.0
FEWEST_STREAMS = 10


@dataclass(frozen=True)
class Line:
    """A limit, the measured value, and that of the peer where it does the same."""

    claim: str
    ours: str
    peer: str = ""
    bar: str = ""
    verdict: Verdict = ""


HEADER = Line("claim", "Trimtab", "SciPy rows", "bar")


def show(title: str, lines: Iterable[Line]) -> bool:
    """Print a table line by line; return False if a limit was missed significantly."""
    print(f"\n{title}\n")
    held = True
    for line in chain((HEADER,), lines):
        text = f"  {line.claim:<66} {line.ours:>9} {line.peer:>11} {line.bar:>9}  {line.verdict}"
        print(text.rstrip(), flush=True)
        held &= line.verdict != "NOT held"
    return held


def at_most(claim: str, by_stream: npt.ArrayLike, bar: float, *, peer: str = "") -> Line:
    """Return the line of a share that must not exceed a limit; one value a stream."""
    return _judged(claim, by_stream, bar, sign=1, peer=peer)


def at_least(claim: str, by_stream: npt.ArrayLike, bar: float, *, peer: str = "") -> Line:
    """Return the line of a share that must reach a limit; one value a stream."""
    return _judged(claim, by_stream, bar, sign=-1, peer=peer)


def share(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.1f} %"


def _judged(claim: str, by_stream: npt.ArrayLike, bar: float, *, sign: int, peer: str) -> Line:
    x = np.asarray(by_stream, np.float64)
    mean, miss = float(x.mean()), sign * (float(x.mean()) - bar)
    # The spread of a share that lies at the bar; of shares within (0, 1) at most so much.
    noise = (
        NOISE_SE * max(float(x.std()), math.sqrt(bar * (1 - bar)) if set(x) <= {0.0, 1.0} else 0.0) / math.sqrt(x.size)
    )
    doubtful = miss <= noise or x.size < FEWEST_STREAMS
    verdict: Verdict = "held" if miss <= 0 else "too few streams" if doubtful else "NOT held"
    return Line(claim, share(mean), peer, f"{'<=' if sign > 0 else '>='} {share(bar)}", verdict)
