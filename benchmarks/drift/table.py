"""One line of a result table, and how a table is printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What was claimed, what was measured, beside the peer where it does the same job."""

    claim: str
    ours: str
    peer: str
    bar: str
    held: bool | None
    """None: a figure without a bar."""


HEADER = Line("claim", "Trimtab", "SciPy rows", "bar", None)


def show(title: str, lines: Iterable[Line]) -> bool:
    """Print a table; return whether every bar held."""
    told = list(lines)
    print(f"\n{title}\n")
    for line in (HEADER, *told):
        verdict = {None: "", True: "held", False: "NOT held"}[line.held]
        print(f"  {line.claim:<64} {line.ours:>12} {line.peer:>12} {line.bar:>16} {verdict}".rstrip(), flush=True)
    return all(line.held is not False for line in told)


def share(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.1f} %"
