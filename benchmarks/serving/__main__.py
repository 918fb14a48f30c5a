"""`python -m benchmarks.serving`: the gateway compared with its peers, with the same model under the same load.

    --peers mlflow,mlserver,...   those of peers/catalog.py that are installed, when left out
    --connections 1,32,128 --seconds N --rounds N
    --parts table,scaling,swaps,shadow

Exit code 1 when a promise is missed, 2 when wrk is missing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import promises, table
from benchmarks.serving.gateway_server import Options, gateway
from benchmarks.serving.load import NO_WRK, has_wrk
from benchmarks.serving.model import FEATURES, TREES, Model, Roles, fit, make_project, write_files
from benchmarks.serving.peers.catalog import NAMES, peer
from benchmarks.serving.scaling import scaling
from benchmarks.serving.shadow import shadow
from benchmarks.serving.swaps import swaps
from benchmarks.serving.targets import Target

PARTS = ("table", "scaling", "swaps", "shadow")


def main() -> int:
    """Measure what was asked for; return the exit code."""
    options = _options()
    if not has_wrk():
        print(NO_WRK, file=sys.stderr)
        return 2
    models = {version: fit(version) for version in (1, 2)}
    held = True
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        work = Path(folder)
        if "table" in options.parts:
            held &= _table(options, models, work / "table")
        if "scaling" in options.parts:
            scaling(models, work / "scaling", workers=options.workers, seconds=options.seconds, rounds=options.rounds)
        if "swaps" in options.parts:
            held &= swaps(models, work / "swaps")
        if "shadow" in options.parts:
            held &= shadow(models, work / "shadow", seconds=options.seconds, rounds=3 * options.rounds)
    print("\nall promises held" if held else "\nNOT ALL PROMISES HELD")
    return 0 if held else 1


def _options() -> argparse.Namespace:
    def several(text: str) -> list[str]:
        return [part for part in text.split(",") if part]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--peers", type=several, default=list(NAMES), help=f"of {','.join(NAMES)}; '' for none")
    parser.add_argument("--connections", type=lambda text: [int(n) for n in several(text)], default=[1, 32, 128])
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server")
    parser.add_argument("--workers", type=lambda text: [int(n) for n in several(text)], default=[1, 2])
    parser.add_argument("--parts", type=several, default=list(PARTS), help=f"of {','.join(PARTS)}")
    options = parser.parse_args()
    for name, known in (("peers", NAMES), ("parts", PARTS)):
        wrong = sorted({*getattr(options, name)} - {*known})
        if wrong:
            parser.error(f"no {name} called {', '.join(wrong)}; there are {', '.join(known)}")
    return options


def _table(options: argparse.Namespace, models: dict[int, Model], work: Path) -> bool:
    write_files(models[1], work / "model")
    ours = _gateways(models, work)
    targets = [*ours, *(peer(name, work / "model", work / "peers") for name in options.peers)]
    print(
        f"One row of {FEATURES} floats as JSON, {TREES} trees, one worker a server, load by wrk on loopback; "
        f"medians of {options.rounds} rounds of {options.seconds} s. "
        "The gateway routes, logs and counts; its peers only answer."
    )
    results = table.compare(
        targets, models, connections=options.connections, seconds=options.seconds, rounds=options.rounds
    )
    table.show(targets, results, options.connections)
    held = True
    for target in ours:
        found = promises.judge(target.name, targets, results)
        if found:
            promises.show(target.title, found)
        if target.name == "trimtab":
            held = bool(found) and all(one.held for one in found if one.counts)
    return held


def _gateways(models: dict[int, Model], work: Path) -> list[Target]:
    """Return three configurations of the gateway; the promises hold for the first, the default with everything on."""
    split: Roles = {1: ("champion", 90.0), 2: ("challenger", 10.0)}
    variants: list[tuple[str, str, Roles, Options]] = [
        ("trimtab", "Trimtab, all on, acknowledged", split, Options(durability="acknowledged")),
        ("trimtab-interval", "Trimtab, all on, log interval", split, Options(durability="interval")),
        ("trimtab-alone", "Trimtab, champion alone, interval", {1: ("champion", 100.0)}, Options()),
    ]
    targets = []
    for name, title, roles, options in variants:
        make_project(work / name / "project", models, roles)
        targets.append(gateway(name, title, work / name / "project", work / name / "work", options))
    return targets


if __name__ == "__main__":
    sys.exit(main())
