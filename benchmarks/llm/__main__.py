"""python -m benchmarks.llm: what the client of endpoints costs, and what the gateway of prompts adds, beside litellm's.

Both stand before the same loopback provider, a stand-in for language models that answers in a millisecond, and are
asked in turns. `sh scripts/bench_venvs.sh litellm` installs litellm into .bench/; without it a
line says so.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.llm.call_clients import client_costs
from benchmarks.llm.proxies import litellm, provider, trimtab
from benchmarks.llm.proxy_cost import measure, table
from benchmarks.serving.servers import NotRunning, unwinding

MODEL = "echo"
WIDTH = 140
acknowledged = partial(trimtab, durability="acknowledged")


def main() -> None:
    """Start all, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=320, help="a round, one after another and together each")
    parser.add_argument("--streams", type=int, default=100, help="a round")
    given = parser.parse_args()
    console = Console(width=WIDTH)
    with tempfile.TemporaryDirectory() as folder, unwinding(), ExitStack() as stack:
        behind = stack.enter_context(provider(MODEL))
        proxies, absent = [behind], []
        for name, make in (("interval", trimtab), ("acknowledged", acknowledged), ("litellm", litellm)):
            work = Path(folder) / name
            work.mkdir()
            try:
                proxies.append(stack.enter_context(make(work, behind)))
            except NotRunning as error:
                absent.append(f"{name}: {error}")
        _show(console, client_costs(behind))
        rows = table(proxies, measure(proxies, rounds=given.rounds, calls=given.calls, streams=given.streams))
    _show(console, rows)
    for line in absent:
        console.print(line)


def _show(console: Console, rows: Sequence[Sequence[str]]) -> None:
    shown = Table(box=None)
    for title in rows[0]:
        shown.add_column(title, no_wrap=True)
    for row in rows[1:]:
        shown.add_row(*row)
    console.print(shown)


if __name__ == "__main__":
    main()
