"""python -m benchmarks.llm: what the gateway of prompts adds to a call, beside litellm's proxy.

Both stand before the same loopback provider, a stand-in for language models that answers in a millisecond, and are
asked in turns. `sh scripts/bench_venvs.sh litellm` installs litellm into .bench/; without it a
line says so.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.llm.proxies import litellm, provider, trimtab
from benchmarks.llm.proxy_cost import measure, table
from benchmarks.serving.servers import NotRunning, unwinding

MODEL = "echo"


def main() -> None:
    """Start all, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=320, help="a round, one after another and together each")
    parser.add_argument("--streams", type=int, default=100, help="a round")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder, unwinding(), ExitStack() as stack:
        behind = stack.enter_context(provider(MODEL))
        proxies, absent = [behind], []
        for make in (trimtab, litellm):
            work = Path(folder) / make.__name__
            work.mkdir()
            try:
                proxies.append(stack.enter_context(make(work, behind)))
            except NotRunning as error:
                absent.append(f"{make.__name__}: {error}")
        rows = table(proxies, measure(proxies, rounds=given.rounds, calls=given.calls, streams=given.streams))
    shown = Table(*rows[0], box=None)
    for row in rows[1:]:
        shown.add_row(*row)
    console.print(shown)
    for line in absent:
        console.print(line)


if __name__ == "__main__":
    main()
