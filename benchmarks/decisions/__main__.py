"""`python -m benchmarks.decisions [--quick] [--streams NAME ...] [--jobs N] [--markdown FILE]`: the regret table.

Eleven real streams, and harms in two of them, times many policies, through the product's backtest. What is finished is
kept under .bench/decisions/ and not run again. The last line sums over the streams, with each stream's gain as a share
of what `never` loses there:

    share of hindsight = sum (never - policy) / never  :  sum (never - best) / never

best: the policy of the table that lost least on that stream. calendar: of every 7, 14 and 28 windows the one that has
the largest share on the other streams, chosen anew for each stream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.decisions.harms import HARMED, HARMS
from benchmarks.decisions.policies import (
    CALENDARS,
    DEFAULT,
    NEVER,
    StreamSource,
    all_plans,
    few_plans,
    policy,
    start_of,
)
from benchmarks.decisions.streams import DELAY, STREAMS
from trimtab.app.backtest.policy_run import LOSS_NAMES, PolicyRun
from trimtab.app.backtest.policy_table import PolicyRow, PolicyTable, make_table
from trimtab.app.backtest.running import Job, run_all
from trimtab.policy.model import Prices

FOLDER = Path(".bench/decisions")
DATA = FOLDER / "data"
QUICK = ("flights", "stops", "bikes", "restaurants", "electricity")
COLUMNS = (
    "policy", "money", "95 %", "share", "saved", "95 %", "loss", "95 %", "share (loss)", "trainings", "false", "CPU s",
)  # fmt: skip


def main() -> None:
    """Print one table a stream, and the shares over all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five streams, few policies, no harms")
    parser.add_argument("--streams", nargs="*", choices=list(STREAMS), help="only these")
    parser.add_argument("--harms", nargs="*", choices=list(HARMS), help="only these; none without a name")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    asked = parser.parse_args()
    names = asked.streams or (QUICK if asked.quick else tuple(STREAMS))
    harms = asked.harms if asked.harms is not None else ([] if asked.quick else list(HARMS))
    lines: list[str] = []

    def put(text: str = "") -> None:
        print(text, flush=True)
        lines.append(text)

    sources = [StreamSource(name, DATA) for name in names]
    sources += [StreamSource(name, DATA, harm) for name in HARMED if name in names for harm in harms]
    tables = _measure(sources, quick=asked.quick, jobs=asked.jobs)
    for source, table in tables.items():
        for line in _shown(_title(source), table):
            put(line)
    clean = {source.name: table for source, table in tables.items() if source.harm is None}
    for line in _summary(clean):
        put(line)
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _measure(sources: Sequence[StreamSource], *, quick: bool, jobs: int) -> dict[StreamSource, PolicyTable]:
    """Return the table of each source. All policies of all sources share the processes: what the last line needs first,
    then the other policies, then the harms."""
    work: dict[StreamSource, list[Job]] = {}
    for source in sources:
        stream, rows = STREAMS[source.name], source.history()
        harm = HARMS[source.harm] if source.harm else None
        base = policy(stream, rows, delay=harm.delay if harm and harm.delay else DELAY)
        plans = few_plans(base) if quick or harm else all_plans(base)
        start = start_of(stream, rows)
        work[source] = [Job(source=source, plan=plan, start=start, folder=FOLDER) for plan in plans]
    flat = sorted((job for own in work.values() for job in reversed(own)), key=_turn)
    begun = time.monotonic()

    def tell(plan: str, done: int, of: int) -> None:
        print(f"  {done} of {of}: {plan} ({time.monotonic() - begun:.0f} s)", flush=True)

    runs: dict[int, PolicyRun] = dict(zip(map(id, flat), run_all(flat, processes=jobs, tell=tell), strict=True))
    return {
        source: make_table([runs[id(job)] for job in own], model=source.name, currency="USD", prices=Prices())
        for source, own in work.items()
    }


def _turn(job: Job) -> int:
    source = job.source
    if isinstance(source, StreamSource) and source.harm is not None:
        return 2
    return 0 if job.plan.name in (NEVER, DEFAULT, *CALENDARS) else 1


def _title(source: StreamSource) -> str:
    return source.name + (f", {source.harm}" if source.harm else "")


def _shown(title: str, table: PolicyTable) -> Iterator[str]:
    """Yield a stream's table in Markdown."""
    losses = {row.name: row.loss.value for row in table.rows}
    most = losses[NEVER] - min(losses.values())
    yield ""
    yield f"### {title}"
    yield ""
    yield f"{table.windows} windows, {table.rows_labelled:,} labelled rows; loss: {LOSS_NAMES[table.task]}"
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" + "|--:" * (len(COLUMNS) - 1) + "|"
    for row in table.rows:
        share = (losses[NEVER] - row.loss.value) / most if most > 0 else float("nan")
        yield "| " + " | ".join(_cells(row, share)) + " |"


def _cells(row: PolicyRow, share: float) -> Sequence[str]:
    assert row.money is not None
    return (
        row.name,
        f"{row.money.value:,.0f}",
        f"{row.money.low:,.0f} to {row.money.high:,.0f}",
        "" if row.share is None else f"{row.share:.2f}",
        f"{row.saved.value:,.0f}",
        f"{row.saved.low:,.0f} to {row.saved.high:,.0f}",
        f"{row.loss.value:.5g}",
        f"{row.loss.low:.5g} to {row.loss.high:.5g}",
        f"{share:.2f}",
        f"{row.retrainings}",
        f"{row.false_alarms} of {row.judged}",
        f"{row.cpu_seconds:.1f}",
    )


def _summary(tables: dict[str, PolicyTable]) -> Iterator[str]:
    """Yield the shares by policy over all streams, and the last line."""
    gains = {name: _gains(table) for name, table in tables.items()}
    common = [name for name in next(iter(gains.values())) if all(name in each for each in gains.values())]
    yield ""
    yield "### all streams"
    yield ""
    yield "| policy | share of hindsight | on streams for tuning | on held-out streams | worst stream |"
    yield "|---|--:|--:|--:|---|"
    tuning = [name for name in tables if STREAMS[name].tuning]
    held = [name for name in tables if not STREAMS[name].tuning]
    for policy_name in common:
        shares = {
            name: each[policy_name] / max(each.values()) for name, each in gains.items() if max(each.values()) > 0
        }
        worst = min(shares, key=lambda name: shares[name])
        cells = [_share(gains, names, policy_name) for names in (list(tables), tuning, held)]
        yield f"| {policy_name} | " + " | ".join(cells) + f" | {shares[worst]:.2f} ({worst}) |"
    chosen = {name: _calendar(gains, name) for name in gains}
    most = sum(max(each.values()) for each in gains.values())
    default = sum(each[DEFAULT] for each in gains.values()) / most
    calendar = sum(gains[name][chosen[name]] for name in gains) / most
    yield ""
    yield "calendar of each stream: " + ", ".join(f"{name} {each}" for name, each in chosen.items())
    yield f"share of hindsight: {default:.2f} default, {calendar:.2f} calendar"


def _gains(table: PolicyTable) -> dict[str, float]:
    """Return by policy what it saved, as a share of what `never` lost."""
    lost = {row.name: row.money.value for row in table.rows if row.money is not None}
    return {name: (lost[NEVER] - money) / lost[NEVER] for name, money in lost.items()}


def _share(gains: dict[str, dict[str, float]], names: Sequence[str], policy_name: str) -> str:
    most = sum(max(gains[name].values()) for name in names)
    return f"{sum(gains[name][policy_name] for name in names) / most:.3f}" if most > 0 else ""


def _calendar(gains: dict[str, dict[str, float]], stream: str) -> str:
    """Return the calendar with the largest gain on the other streams."""
    others = [each for name, each in gains.items() if name != stream] or list(gains.values())
    sums = {name: np.sum([each[name] for each in others]) for name in CALENDARS}
    return max(sums, key=lambda name: sums[name])


if __name__ == "__main__":
    main()
