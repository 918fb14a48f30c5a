"""Processes that take outcomes, killed again and again or several at once, leave each label in the log once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting
from trimtab.records.monitoring import LabelIntake

FILES, ROWS = 3, 200
DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "flights.csv", timestamp="at")
landed = tt.FileSource("landed", "landed", timestamp="landed_at")
delay = tt.Model(
    "delay", task="binary", examples=flights, label="late", features=["wind"], outcomes=tt.Outcomes(source=landed)
)
"""

KILLER = '''
"""Takes outcomes in forked children that die by SIGKILL before or after one of their writes, until one ends."""

import json, os, signal, sys
from pathlib import Path

import deltalake, pyarrow  # before the fork, so that each child starts at once
from trimtab.app.labels import importing
from trimtab.app.project.workspace import open_workspace
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

importing.CHUNK_ROWS = 40
folder, kills = Path(sys.argv[1]), 0


def mortal(write, left):
    """Return a write before or after which the process dies, when as many have been."""

    def tick():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def writing(*arguments):
        tick()
        result = write(*arguments)
        tick()
        return result

    return writing


def take(left):
    workspace = open_workspace(folder)
    counter = [left]
    SegmentLog.append_labels = mortal(SegmentLog.append_labels, counter)
    SegmentLog.sync = mortal(SegmentLog.sync, counter)
    metadata = type(workspace.metadata)
    metadata.put = mortal(metadata.put, counter)
    importing.import_tables(workspace)


while True:
    child = os.fork()
    if child == 0:
        try:
            take(5 + kills % 12)
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "taking failed"
        break
    kills += 1
print(json.dumps(kills))
'''

TAKER = """
import sys
from pathlib import Path
from trimtab.app.labels import importing
from trimtab.app.project.workspace import open_workspace

workspace = open_workspace(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(sum(intake.added for intake in importing.import_tables(workspace)))
"""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A project whose table of outcomes has some versions that were not taken yet."""
    (tmp_path / "trimtab.yaml").write_text("project: killed\n")
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "landed").mkdir()
    for number in range(FILES):
        ids = [f"{number}-{row}" for row in range(ROWS)]
        frame = pl.DataFrame({"prediction_id": ids, "late": [row % 2 for row in range(ROWS)]})
        frame = frame.with_columns(landed_at=pl.lit("2013-01-02T00:00:00Z"))
        frame.write_csv(tmp_path / "landed" / f"{number}.csv")
    workspace = open_workspace(tmp_path)
    ingesting.ingest(workspace, "landed")
    return workspace


def expect_each_once(ws: Workspace) -> None:
    ids = Counter(ws.predictions.read_labels()[0]["prediction_id"].to_pylist())
    assert len(ids) == FILES * ROWS
    assert set(ids.values()) == {1}
    intakes = ws.metadata.find(LabelIntake, oldest_first=True)
    assert [intake.version for intake in intakes] == list(range(FILES))
    assert all(intake.added + intake.repeated == ROWS for intake in intakes)


def test_who_takes_outcomes_and_is_killed_again_and_again_takes_each_once(ws: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(ws.project.folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) >= 4
    expect_each_once(ws)


def test_several_at_once_take_each_once(ws: Workspace) -> None:
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, str(ws.project.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for taker in takers:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("go\n")
        taker.stdin.flush()
    said = [taker.communicate()[0] for taker in takers]
    assert [taker.returncode for taker in takers] == [0, 0, 0]
    assert sum(int(text) for text in said) == FILES * ROWS
    expect_each_once(ws)
