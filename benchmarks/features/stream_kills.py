"""A stream whose consumer and broker are killed again and again: table and online values equal those without kills.

    python -m benchmarks.features.stream_kills --events 1000000 --kills 20

The broker is that of this machine, which keeps its log in memory: a killed one loses it. The producer keeps its events
until they are in the table, and sends the others again into the new topic, after the consumer has committed that it
begins a new epoch there. So this shows that consumer, table and online values take each message once, whatever dies;
it does not show a broker that keeps its log.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.features.stream_project import Consumer, Events, Feeder, make_project, online_values, wait
from trimtab.app.project.broker import running_broker
from trimtab.app.project.process_files import send_signal
from trimtab.app.project.workspace import Workspace


@dataclass(frozen=True)
class Streamed:
    """One run. rows: the table by id; online: packed values of all cards at many times."""

    rows: pl.DataFrame
    online: list[list[bytes | None]]
    seconds: float
    sent: int
    consumers: int
    topics: int
    epoch: int
    versions: int


def run(folder: Path, events: Events, *, kills: int, seed: int = 0) -> Streamed:
    """Stream all events into a project in `folder`; kill consumer and broker `kills` times each meanwhile."""
    workspace = make_project(folder, batch_time="500ms")
    began = time.perf_counter()
    consumer, feeder = (
        Consumer(workspace),
        Feeder(workspace, events.messages(), ahead=min(60_000, max(2_000, events.count // (4 * kills + 4)))),
    )
    feeder.start()
    chance = random.Random(seed)
    victims = ["consumer"] * kills + ["broker"] * kills
    chance.shuffle(victims)
    wait(workspace, lambda: feeder.state() is not None)
    for number, victim in enumerate(victims, start=1):
        share = number / (len(victims) + 1)
        wait(workspace, lambda share=share: feeder.landed >= share * events.count or not feeder.is_alive())  # type: ignore[misc]  # bound now
        time.sleep(chance.random() / 2)
        _kill(workspace, consumer, victim)
    feeder.join()
    state = feeder.state()
    assert state is not None
    wait(workspace, lambda: _taken(workspace) >= events.count)
    seconds = time.perf_counter() - began
    consumer.stop()
    rows = workspace.tables.scan("payments").collect().sort("id")
    versions = (workspace.tables.version("payments") or 0) + 1
    values = online_values(workspace, events)
    return Streamed(rows, values, seconds, feeder.sent, consumer.starts, feeder.lives, state.epoch, versions)


def differences(one: Streamed, other: Streamed, events: Events) -> list[str]:
    """Return what differs between two runs, in words."""
    found = []
    columns = ["id", "card", "amount", "paid_at"]
    expected = events.frame()
    for name, streamed in (("the first", one), ("the second", other)):
        if not streamed.rows.select(columns).equals(expected):
            found.append(f"the table of {name} run has other rows than the events: {streamed.rows.height:,}")
    unequal = sum(a != b for x, y in zip(one.online, other.online, strict=True) for a, b in zip(x, y, strict=True))
    if unequal:
        found.append(f"{unequal:,} online values differ")
    if not any(value for values in one.online for value in values):
        found.append("there are no online values")
    return found


def _kill(workspace: Workspace, consumer: Consumer, victim: str) -> None:
    broker = running_broker(workspace.run_folder)
    if victim == "consumer":
        consumer.kill()
    elif broker is not None:
        send_signal(broker.pid, signal.SIGKILL)


def _taken(workspace: Workspace) -> int:
    """Return how many rows of the table the online values have."""
    from trimtab.features.stream_state import StreamUpdater

    (view,) = workspace.project.definitions.views.values()
    position = StreamUpdater(view, workspace.online, pl.LazyFrame).position
    return 0 if position is None else position.rows


def main() -> None:
    """Run twice, without and with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=20, help="of the consumer, and as many of the broker")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    events = Events(given.events)
    with tempfile.TemporaryDirectory() as folder:
        whole = run(Path(folder) / "whole", events, kills=0)
        _show("without kills", whole)
        killed = run(Path(folder) / "killed", events, kills=given.kills, seed=given.seed)
        _show(f"{given.kills} + {given.kills} kills", killed)
        found = differences(whole, killed, events)
    print("\n".join(found) or f"equal: {given.events:,} rows, {sum(map(len, whole.online)):,} online values")
    raise SystemExit(bool(found))


def _show(name: str, done: Streamed) -> None:
    print(
        f"{name}: {done.rows.height:,} rows in {done.seconds:.1f} s ({done.rows.height / done.seconds:,.0f} a second), "
        f"{done.sent:,} messages sent, {done.consumers} consumers, {done.topics} lives of the topic, "
        f"{done.epoch} epochs begun, {done.versions:,} versions",
        flush=True,
    )


if __name__ == "__main__":
    main()
