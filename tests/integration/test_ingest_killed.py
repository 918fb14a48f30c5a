"""An ingest that is killed again and again ends where an undisturbed one ends."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.record import Record
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

CHECKS = """
import pandera.polars as pa

Flights = pa.DataFrameSchema({"delay": pa.Column(float, pa.Check.le(100), nullable=True)})
"""

KILLER = '''
"""Ingests in forked children that die, by SIGKILL, at every write in turn or at moments drawn by chance."""

import json, os, random, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path

# before the fork, so that each child starts at once
import alembic.command, deltalake, pandera.polars, pandera.backends.polars.builtin_checks
from trimtab import data
from trimtab.clock import ManualClock
from trimtab.data import ingest as taking
from trimtab.data.batch import open_intake
from trimtab.definitions.sources import FileSource
from trimtab.policy.model import Checks
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables


class Mortal:
    """Hands on to a real store and counts the writes; the process dies before or after the one it is told."""

    left = 0

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        inner = getattr(self._store, name)
        if name not in ("put", "append"):
            return inner

        def write(*args, **options):
            self._tick()
            result = inner(*args, **options)
            self._tick()
            return result

        return write

    @staticmethod
    def _tick():
        Mortal.left -= 1
        if Mortal.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def ingest(folder):
    store = folder / ".trimtab"
    intake = open_intake(
        FileSource("flights", "data", timestamp="at"),
        folder=folder,
        checks=Checks.model_validate({"flights": "checks.Flights", "max_failing_rows": 0.5}),
        tables=Mortal(DeltaTables(store / "tables")),
        metadata=Mortal(SqlMetadata(store / "metadata.db")),
        clock=ManualClock(datetime(2026, 3, 1, tzinfo=UTC)),
    )
    taking.ingest(intake)


def run(folder, *, writes=0, seconds=None):
    """Ingest in a child; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            Mortal.left = writes
            ingest(folder)
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr)
            os._exit(1)
    if seconds is not None and signal.sigtimedwait({signal.SIGCHLD}, seconds) is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the ingest failed"
        return True
    assert os.WTERMSIG(status) == signal.SIGKILL
    return False


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
undisturbed, by_write, by_chance = (Path(argument) for argument in sys.argv[1:])
started = time.perf_counter()
assert run(undisturbed)
whole = time.perf_counter() - started
kills = {"by_write": 0, "by_chance": 0}
while not run(by_write, writes=kills["by_write"] % 9 + 1):
    kills["by_write"] += 1
chance = random.Random(3)
while not run(by_chance, seconds=chance.uniform(0, whole * (1 + kills["by_chance"] / 10))):  # it may be busier by now
    kills["by_chance"] += 1
    assert kills["by_chance"] < 100
print(json.dumps(kills))
'''


def project(folder: Path) -> Path:
    """Write a project with four files, some rows of which fail."""
    chance = random.Random(7)
    (folder / "data").mkdir(parents=True)
    (folder / "checks.py").write_text(CHECKS)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    for day in range(4):
        moments = [start + timedelta(days=day, minutes=n) for n in range(500)]
        delays = [None if chance.random() < 0.1 else chance.gauss(40, 30) for _ in moments]
        frame = pl.DataFrame({"at": moments, "delay": delays, "flight": range(500)})
        if day % 2:
            frame.write_parquet(folder / "data" / f"day {day}.parquet")
        else:
            frame.write_csv(folder / "data" / f"day {day}.csv")
    return folder


def content(folder: Path) -> tuple[dict[str, pl.DataFrame], dict[str, list[Record]]]:
    """Return the rows of all tables and the records of all kinds that an ingest writes."""
    tables = DeltaTables(folder / ".trimtab" / "tables")
    metadata = SqlMetadata(folder / ".trimtab" / "metadata.db")
    records = {kind.KIND: [*metadata.find(kind, oldest_first=True)] for kind in (TableVersion, CheckReport)}
    metadata.close()
    return {name: tables.scan(name).collect() for name in tables.names()}, records


def test_an_ingest_killed_again_and_again_ends_where_an_undisturbed_one_ends(tmp_path: Path) -> None:
    # given
    folders = [project(tmp_path / name) for name in ("undisturbed", "by_write", "by_chance")]
    # when
    done = subprocess.run(
        [sys.executable, "-c", KILLER, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # then
    assert json.loads(done.stdout)["by_write"] >= 8
    expected_tables, expected_records = content(folders[0])
    assert len(expected_records["table_version"]) == 4
    assert set(expected_tables) == {"flights", "flights_quarantine"}
    assert expected_tables["flights_quarantine"].height > 0
    assert sum(frame.height for frame in expected_tables.values()) == 2000
    for folder in folders[1:]:
        tables, records = content(folder)
        assert records == expected_records
        assert tables.keys() == expected_tables.keys()
        assert all(frame.equals(expected_tables[name]) for name, frame in tables.items())
