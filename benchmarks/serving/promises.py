"""The promised limits of the gateway, and their check against a table of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serving.load import Figures
from benchmarks.serving.table import Results
from benchmarks.serving.targets import Target

AT = 32
"""Connections at which promises are judged."""
CEILING, WRITTEN = "raw", "fastapi"
MAX_CPU_US = 110
QUIET_CEILING_US = 64
"""What the ceiling took when the promise was made; shared machines are slower for minutes at a time."""
MIN_PER_CORE = 8_000
MIN_RATIO_PACKAGED = 6.0
MIN_RATIO_WRITTEN = 2.0
MAX_P99_RATIO = 2.0
MAX_COLD_S = 1.0
MAX_WORKER_MB = 120


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One promise and what was measured."""

    text: str
    value: float
    bound: float
    at_least: bool = False
    counts: bool = True
    """False for a measurement that is shown without a limit."""

    @property
    def held(self) -> bool:
        """True if the measurement is within the limit."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def judge(name: str, targets: Sequence[Target], results: Results) -> list[Promise]:
    """Return the promises for the gateway called `name`, those left out that nothing was measured for."""
    ours = results.figures.get((name, AT))
    if ours is None:
        return []
    found = [
        Promise(text="CPU us a request", value=ours.cpu_us, bound=MAX_CPU_US),
        Promise(text="requests a core and second", value=1e6 / ours.cpu_us, bound=MIN_PER_CORE, at_least=True),
    ]
    for suffix, counts in (("", True), ("+onnx", False)):
        packaged = [t for t in targets if t.packaged and t.name.endswith("+onnx") == bool(suffix)]
        measured = [(t.title, results.figures[t.name, AT]) for t in packaged if (t.name, AT) in results.figures]
        if measured:
            found += _compared(ours, measured, counts=counts)
    written, ceiling = results.figures.get((WRITTEN, AT)), results.figures.get((CEILING, AT))
    if written is not None:
        text = "times less CPU than FastAPI + ONNX"
        found.append(Promise(text=text, value=written.cpu_us / ours.cpu_us, bound=MIN_RATIO_WRITTEN, at_least=True))
    if ceiling is not None:
        text, ratio = "times the p99 of the ceiling", ours.p99_ms / max(ceiling.p99_ms, 1e-9)
        found.append(Promise(text=text, value=ratio, bound=MAX_P99_RATIO))
        text = f"CPU us, were the machine as quick as where the ceiling takes {QUIET_CEILING_US}"
        even = QUIET_CEILING_US * ours.cpu_us / max(ceiling.cpu_us, 1e-9)
        found.append(Promise(text=text, value=even, bound=MAX_CPU_US, counts=False))
    cold_s, _ = results.cold[name]
    failed = sum(one.failed for (server, _), one in results.figures.items() if server == name)
    return [
        *found,
        Promise(text="s from start to first answer", value=cold_s, bound=MAX_COLD_S),
        Promise(text="MB a worker", value=results.memory[name].worker, bound=MAX_WORKER_MB),
        Promise(text="failed requests", value=failed, bound=0),
    ]


def _compared(ours: Figures, packaged: Sequence[tuple[str, Figures]], *, counts: bool) -> list[Promise]:
    """Compare with the peer that is best in each respect. What is promised is the processor time."""
    cheapest, cheap = min(packaged, key=lambda one: one[1].cpu_us)
    quickest, quick = max(packaged, key=lambda one: one[1].per_second)
    texts = (
        f"times less CPU than {cheapest}, the cheapest",
        f"times the requests a second of {quickest}, the quickest",
    )
    ratios = (cheap.cpu_us / ours.cpu_us, ours.per_second / max(quick.per_second, 1e-9))
    return [
        Promise(text=text, value=ratio, bound=MIN_RATIO_PACKAGED, at_least=True, counts=counts and place == 0)
        for place, (text, ratio) in enumerate(zip(texts, ratios, strict=True))
    ]


def show(title: str, promises: Sequence[Promise]) -> None:
    """Print the promises for one gateway."""
    print(f"\n{title}, at {AT} connections")
    for one in promises:
        sign = ">=" if one.at_least else "<="
        verdict = (
            f"(promised {sign} {one.bound:g}): {'held' if one.held else 'MISSED'}" if one.counts else "(shown only)"
        )
        print(f"  {one.value:10.2f}  {one.text} {verdict}")
