"""How many events a second a stream sustains, and how long an event takes until its online value can be read.

    python -m benchmarks.features.stream_rate --events 200000 --rate 1000 --seconds 60

Sustained: events wait in the broker, and the rate is that of the last nine tenths. Freshness: with `--rate` events a
second under way, a probe of a card of its own is sent every quarter of a second, and the online store is read until it
has the value; in addition to the broker that includes the time of a micro-batch (`--batch-time`).
`--commits` lands so many micro-batches of 100 rows each in one table, and says what one costs at the beginning and at
the end, and how long the table takes to open.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from confluent_kafka import Producer

from benchmarks.features.stream_project import PARTITIONS, Consumer, Events, Feeder, make_project, wait
from trimtab.app.project.broker import running_broker
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import intake_of
from trimtab.clock import to_micros
from trimtab.data.connectors.landing import Landing
from trimtab.data.connectors.message_rows import Message
from trimtab.features.table_columns import encode_keys

PROBE_S = 0.25
LOOK_S = 0.002
COMPACT = 200
"""Micro-batches between two compactions, as in a running stream."""


def sustained(folder: Path, events: Events) -> float:
    """Return rows a second that a stream lands and takes into online values while more wait."""
    workspace = make_project(folder)
    consumer, feeder = Consumer(workspace), Feeder(workspace, events.messages(), ahead=60_000)
    feeder.start()
    wait(workspace, lambda: feeder.landed >= events.count / 10)
    began, first = time.perf_counter(), feeder.landed
    feeder.join()
    taken = (feeder.landed - first) / (time.perf_counter() - began)
    consumer.stop()
    return taken


def freshness(folder: Path, *, rate: int, seconds: float, batch_time: str) -> list[float]:
    """Return the seconds from the production of each probe until its online value could be read."""
    workspace = make_project(folder, batch_time=batch_time)
    consumer = Consumer(workspace)
    wait(workspace, lambda: running_broker(workspace.run_folder) is not None)
    broker = running_broker(workspace.run_folder)
    assert broker is not None
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 1, "log_level": 2})
    ended = threading.Event()
    traffic = threading.Thread(target=_traffic, args=(workspace, producer, rate, ended))
    traffic.start()
    wait(workspace, lambda: workspace.tables.version("payments") is not None)
    time.sleep(5)  # until the first batches, which make the table, are past
    found = [_probe(workspace, producer, number) for number in range(int(seconds / PROBE_S))]
    ended.set()
    traffic.join()
    consumer.stop()
    return found


def commits(folder: Path, count: int) -> list[str]:
    """Land `count` micro-batches, and return what they cost, in words."""
    workspace = make_project(folder)
    landing = Landing(intake_of(workspace, workspace.project.definitions.sources["payments"]))
    times, state, lines = [], None, []
    for number in range(count):
        values = [{"id": number, "card": f"c{n}", "amount": 1.5, "paid_at": "2026-01-01"} for n in range(100)]
        messages = [Message("payments[0]", n, msgspec.json.encode(value)) for n, value in enumerate(values)]
        began = time.perf_counter()
        landing.land(messages, since=state, state=str(number), label="")
        if number % COMPACT == COMPACT - 1:
            workspace.tables.compact("payments", now=workspace.now())
        times.append(time.perf_counter() - began)
        state = str(number)
        if (number + 1) in (count // 10, count):
            began = time.perf_counter()
            workspace.tables.version("payments")
            opened, of = time.perf_counter() - began, times[-1000:]
            began = time.perf_counter()
            landing.record("payments")
            recorded = time.perf_counter() - began
            lines.append(
                f"{number + 1:,} commits: {1000 * float(np.median(of)):.1f} ms each (median; mean "
                f"{1000 * float(np.mean(of)):.1f} with compactions), the table opens in {1000 * opened:.1f} ms, its "
                f"record takes {1000 * recorded:.1f} ms"
            )
    return lines


def _traffic(workspace: Workspace, producer: Producer, rate: int, ended: threading.Event) -> None:
    number, began = 0, time.perf_counter()
    while not ended.is_set():
        while number < (time.perf_counter() - began) * rate:
            _send(workspace, producer, f"c{number % 2_000}", number)
            number += 1
        producer.poll(0)
        time.sleep(0.005)
    producer.flush(5)


def _probe(workspace: Workspace, producer: Producer, number: int) -> float:
    (view,) = workspace.project.definitions.views.values()
    (key,) = encode_keys(pl.DataFrame({"card": [f"probe-{number}"]}))
    prefix, began = workspace.online.prefix(view.version_id), time.perf_counter()
    _send(workspace, producer, f"probe-{number}", -1 - number)
    while workspace.online.read([(prefix, key)], to_micros(workspace.now())) == [None]:
        time.sleep(LOOK_S)
    took = time.perf_counter() - began
    time.sleep(max(0.0, PROBE_S - took))
    return took


def _send(workspace: Workspace, producer: Producer, card: str, id_: int) -> None:
    value = msgspec.json.encode({"id": id_, "card": card, "amount": 1.25, "paid_at": workspace.now()})
    producer.produce("payments", value=value, key=card, partition=abs(id_) % PARTITIONS)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batch-time", default="200ms")
    parser.add_argument("--commits", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.events:
            found = sustained(Path(folder) / "sustained", Events(given.events))
            print(f"sustained: {found:,.0f} events a second, {given.events:,} events", flush=True)
        if given.seconds:
            took = freshness(
                Path(folder) / "fresh", rate=given.rate, seconds=given.seconds, batch_time=given.batch_time
            )
            median, p99 = np.quantile(took, [0.5, 0.99])
            print(
                f"freshness at {given.rate:,} a second, micro-batches of {given.batch_time}: {len(took)} probes, "
                f"median {1000 * median:.0f} ms, p99 {1000 * p99:.0f} ms, worst {1000 * max(took):.0f} ms",
                flush=True,
            )
        if given.commits:
            print("\n".join(commits(Path(folder) / "commits", given.commits)), flush=True)


if __name__ == "__main__":
    main()
