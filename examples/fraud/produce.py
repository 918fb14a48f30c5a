"""Sends the simulated payments to the broker, as a processor of cards would: one message a payment, by card.

    python produce.py                                          all that was not sent yet
    python produce.py --to 2025-06-01T00:00Z                   what was paid before then
    python produce.py --to 2025-09-16T00:00Z --live 50         50 a second, each one scored by the gateway before

What was sent is noted in data/sent.json, so the same command goes on where it was. Broker and gateway are those that
`trimtab up` has started on this machine, unless --servers and --gateway name others.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from confluent_kafka import Producer

FOLDER = Path(__file__).resolve().parent
RUN = FOLDER / ".trimtab/run"
TOPIC = "card-payments"
MODEL = "fraud"
ASKED = ("authorised_at", "card", "terminal", "amount", "distance_km", "new_device", "mcc")
"""Columns of a request."""
TYPES = {int: "INT64", str: "BYTES", float: "FP64", type(None): "FP64"}
ISO = "%Y-%m-%dT%H:%M:%S%.6fZ"
WAIT_SECONDS = 30.0

Row = dict[str, Any]


class Payments:
    """The topic. Raises SystemExit when the broker does not take a payment."""

    def __init__(self, servers: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5})
        self._failed: list[str] = []

    def send(self, row: Row) -> None:
        """Send one payment; it may still be on its way when this returns."""
        value = json.dumps(row).encode()
        while True:
            try:
                self._producer.produce(TOPIC, value, row["card"].encode(), on_delivery=self._note)
                break
            except BufferError:  # too many are on their way
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has all payments."""
        left = self._producer.flush(60)
        if left or self._failed:
            why = self._failed[0] if self._failed else "the broker does not answer"
            sys.exit(f"{left + len(self._failed)} payments were not sent: {why}")

    def _note(self, error: object, message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


class Scorer:
    """The gateway's model, asked for one payment after the other over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=10)
        self.failed = 0

    def score(self, row: Row) -> float:
        """Ask for a decision on one payment, and return how long it took, in milliseconds."""
        inputs = [
            {"name": name, "shape": [1], "datatype": TYPES[type(row[name])], "data": [row[name]]} for name in ASKED
        ]
        body = json.dumps({"id": f"live-{row['transaction']}", "inputs": inputs})
        begun = time.perf_counter()
        self._connection.request("POST", f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        self.failed += answer.status != 200
        return 1000 * (time.perf_counter() - begun)


def place(file: str, what: str, starts: str) -> Row:
    """Return what a process of the project says of itself, once it runs.

    starts: the commands that start it. Raises SystemExit when it does not run within WAIT_SECONDS.
    """
    begun = time.perf_counter()
    while time.perf_counter() - begun < WAIT_SECONDS:
        try:
            found: Row = json.loads((RUN / file).read_text())
            os.kill(found["pid"], 0)  # asks if the process lives: the file of one that was killed may still be there
            return found
        except (OSError, ValueError):
            time.sleep(0.2)
    sys.exit(f"no {what} runs for this project. Start it with: {starts}")


def payments(after: datetime | None, until: datetime | None) -> pl.DataFrame:
    """Return the payments between two times, with times as text."""
    rows = pl.scan_parquet(FOLDER / "data/transactions.parquet")
    if after is not None:
        rows = rows.filter(pl.col("authorised_at") >= after)
    if until is not None:
        rows = rows.filter(pl.col("authorised_at") < until)
    return rows.with_columns(pl.col("authorised_at", "posted_at").dt.strftime(ISO)).collect()


def live(topic: Payments, scorer: Scorer, rows: pl.DataFrame, rate: float) -> None:
    """Let payments come one after another: each is scored, and then a part of the features of the next."""
    took: list[float] = []
    fresh: dict[str, float] = {}
    earlier, before, begun = freshness(), landed(), time.perf_counter()
    for n, row in enumerate(rows.iter_rows(named=True)):
        time.sleep(max(0.0, begun + n / rate - time.perf_counter()))
        took.append(scorer.score(row))
        topic.send(row)
        if n % 10 == 0:
            fresh |= freshness()
    topic.flush()
    waited = time.perf_counter()
    while landed() < before + rows.height and time.perf_counter() - waited < WAIT_SECONDS:
        time.sleep(0.2)
        fresh |= freshness()
    fresh = {at: age for at, age in fresh.items() if at not in earlier}
    print(f"decisions: {quantiles(took, 'ms')}, {len(took):,} payments, {scorer.failed} failed")
    if fresh:
        print(f"a payment counts in features after: {quantiles(list(fresh.values()), 's')}")


def streams() -> list[Row]:
    """Return how far the streams are."""
    try:
        found: list[Row] = json.loads((RUN / "ingestion.json").read_text())["streams"]
    except (OSError, ValueError):
        return []
    return found


def freshness() -> dict[str, float]:
    """Return the age of the newest micro-batch when its online values could be read, in seconds, by its time."""
    return {one["landed_at"]: one["freshness_s"] for one in streams() if one["freshness_s"] is not None}


def landed() -> int:
    """Return how many payments the process that reads the stream has landed."""
    return sum(one["rows"] + one["refused"] for one in streams())


def wait_for_rows(rows: int) -> None:
    """Wait until so many payments have landed, or none more has for WAIT_SECONDS; say which."""
    found, moved = landed(), time.perf_counter()
    while found < rows and time.perf_counter() - moved < WAIT_SECONDS:
        time.sleep(0.2)
        if landed() != found:
            found, moved = landed(), time.perf_counter()
    print("they have landed" if found >= rows else "not all have landed yet; how far they are: trimtab status")


def quantiles(values: list[float], unit: str) -> str:
    """Return the median and the 99th percentile in words."""
    found = pl.Series(values)
    return f"p50 {found.quantile(0.5, 'linear'):.2f} {unit}, p99 {found.quantile(0.99, 'linear'):.2f} {unit}"


def main() -> None:
    """Send what was asked for, and note how far it went."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--to", type=datetime.fromisoformat, help="event time; left out, the end of the data")
    parser.add_argument("--live", type=float, metavar="RATE", help="payments a second, each scored before it is sent")
    parser.add_argument("--limit", type=int, help="the most payments to send")
    parser.add_argument("--servers", help="host and port of a broker")
    parser.add_argument("--gateway", help="URL of a gateway")
    given = parser.parse_args()
    note = FOLDER / "data/sent.json"
    after = datetime.fromisoformat(json.loads(note.read_text())["until"]) if note.exists() else None
    rows = payments(after, given.to)
    ends = rows.height <= given.limit if given.limit else True
    if rows.is_empty():
        sys.exit("all of it was sent already")
    rows = rows if ends else rows.head(given.limit)
    landed_before = landed()
    topic = Payments(given.servers or place("broker.json", "broker", "trimtab stream, or: trimtab up")["address"])
    if given.live:
        url = given.gateway or "http://{host}:{port}".format(**place("gateway.json", "gateway", "trimtab up"))
        live(topic, Scorer(url), rows, given.live)
    else:
        for row in rows.iter_rows(named=True):
            topic.send(row)
        topic.flush()
    last = str(rows["authorised_at"][-1])
    until = (given.to or datetime.max.replace(tzinfo=UTC)).isoformat() if ends else after_last(last)
    note.write_text(json.dumps({"until": until}))
    print(f"{rows.height:,} payments sent, up to {last}", flush=True)
    if not given.live and streams():
        wait_for_rows(landed_before + rows.height)


def after_last(time_: str) -> str:
    """Return the first time after the last payment that was sent."""
    return (datetime.fromisoformat(time_) + timedelta(microseconds=1)).isoformat()


if __name__ == "__main__":
    main()
