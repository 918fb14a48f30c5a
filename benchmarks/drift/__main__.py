"""`python -m benchmarks.drift [--streams N]`: false alarms, power and cost; exit code 1 when a limit is not met.

A release is measured with 200 streams of a kind (about 25 minutes of CPU). The default of 20 takes about 3 minutes. It
finds a detector with many false alarms, but cannot distinguish one per cent from two.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.drift import cost, honesty, labels, power, wobble
from benchmarks.drift.streams import IID_ROWS, read_flights
from benchmarks.drift.table import show

STREAMS = 20
LARGE_EVERY = 10


def main() -> int:
    """Run all parts; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift")
    parser.add_argument("--streams", type=int, default=STREAMS, help="streams of each kind")
    streams = parser.parse_args().streams
    flights = read_flights()
    scored = labels.score(flights)
    few = max(2, streams // LARGE_EVERY)
    print(
        f"nycflights13: {len(flights.late):,} rows, 365 days, 15 columns; 60 reference and 100 monitored windows; "
        f"{streams} streams of each kind, seeds 0 to {streams - 1}; iid windows have {IID_ROWS:,} rows"
    )
    held = [
        show("Nothing drifts: false alarms", honesty.measure(flights, streams)),
        show("Something changes after 50 windows (iid)", power.measure(flights, streams)),
        show(f"Large windows ({few} streams)", wobble.measure(flights, few)),
        show("Labels", labels.measure_harm(flights, scored, streams)),
        show("Champion or challenger", labels.measure_promotion(flights, scored, 10 * streams)),
        show("Cost (CPU time)", cost.measure(flights)),
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
