"""`python -m benchmarks.loop.kills --times 40 [--seed N]`

Ends the loop with SIGKILL while it retrains and compares: `trimtab up` with its gateway and training processes, the
replay, or both. Then it starts the ended processes again. Each round plays the same six weeks of two airlines. Then
its records are compared with those of a round without kills. Exit code 1 unless every round is equal to it: the same
windows, decisions, revisions, bundles and workflow steps, and each prediction and label in the log once.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import psutil
import yaml

from benchmarks.serving.processes import tree
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project import templates
from trimtab.app.project.process_files import read_progress
from trimtab.app.project.workspace import open_workspace
from trimtab.clock import SystemClock, parse_time
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.monitoring import Comparison, WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle

TRAINED_UNTIL, END = "2013-03-01T05:00Z", "2013-04-15T04:00Z"
POLICY: dict[str, dict[str, Any]] = {
    "training": {"params": {"max_iter": 20, "learning_rate": 0.15, "max_leaf_nodes": 8}},
    "gates": {
        "accuracy": {"metric": "roc_auc", "min": 0.5, "resamples": 100},
        "bias": {"sensitive": ["origin"], "max": 0.99},
        "robustness": {"missing": "5%", "noise": "0.1sd", "max_drop": 0.5},
    },
    "rollout": {"promote_when": {"metric": "log_loss", "min_labels": 200, "min_windows": 2, "max_windows": 5}},
    "decide": {
        "cooldown": "7d",
        "require_harm": False,
        "matrix": {
            "minor": {"p": "> 0.05", "low": "retrain", "medium": "retrain", "high": "retrain"},
            "moderate": {"p": "0.01 - 0.05", "low": "retrain", "medium": "retrain", "high": "retrain"},
            "severe": {"p": "< 0.01", "low": "retrain", "medium": "retrain", "high": "retrain"},
        },
        "budget": {"retrains": "20/month"},
    },
    "serving": {"port": 0},
}
COMPARED: tuple[type[Record], ...] = (WindowReport, Comparison, Decision, Resolution, Bundle, Revision, WorkflowStep)
MEASURED = {"p50_ms", "p99_ms", "p99_low_ms", "cost"}
"""Metrics of the machine, not of the data."""
DIFFERENT_BY_NATURE = {
    "created_at",
    "digest",
    "path",
    "run",
    "refit",
    "gate_report",
    "refers_to",
    "hash",
    "previous_hash",
}
KINDS = ("up", "replay", "both")
PATIENCE_S = 300.0
POLL_S = 0.02


@dataclass
class Loop:
    """`trimtab up` and `trimtab replay` on one project, as two processes."""

    folder: Path
    up: subprocess.Popen[bytes] | None = None
    replay: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start what does not run, and wait until the loop works."""
        run_folder = self.folder / ".trimtab" / "run"
        if self.up is None or self.up.poll() is not None:
            (run_folder / "steering.json").unlink(missing_ok=True)
            self.up = self._spawn("up", "--no-console", "--port", "0")
            up = self.up
            _wait_until(lambda: read_progress(run_folder) is not None or up.poll() is not None, "the loop works")
            if up.poll() is not None:
                raise SystemExit(f"trimtab up ended with {up.returncode}: {self.words()}")
        if self.replay is None or self.replay.poll() not in (None, 0):
            self.replay = self._spawn("replay", "--no-up", "--from", TRAINED_UNTIL, "--to", END)

    def kill(self, kind: str) -> None:
        """End processes with SIGKILL, and wait until they are gone."""
        if kind != "replay":
            assert self.up is not None
            gateway = running_gateway(self.folder / ".trimtab" / "run")
            _kill(self.up.pid, *([gateway.pid] if gateway and kind == "both" else []))
            self.up.wait()
        if kind != "up":
            assert self.replay is not None
            _kill(self.replay.pid)
            self.replay.wait()

    def over(self) -> bool:
        """Return True when the replay came to its end."""
        assert self.replay is not None
        return self.replay.poll() == 0

    def stop(self) -> None:
        """End everything."""
        gateway = running_gateway(self.folder / ".trimtab" / "run")
        for process in (self.replay, self.up):
            if process is not None:
                _kill(process.pid)
                process.wait()
        if gateway:
            _kill(gateway.pid)

    def words(self) -> str:
        """Return what the two said last."""
        return (self.folder / "loop.log").read_text(errors="replace")[-2000:]

    def _spawn(self, verb: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "loop.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "trimtab.cli", verb, "--project", str(self.folder), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def main() -> int:
    """Kill the loop over and over and compare; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop.kills")
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, done, worst = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="trimtab-loop-kills-") as name:
        trained = make_project(Path(name) / "trained")
        expected = play(trained, Path(name) / "alone", random.Random(0), kills=0)[0]
        print("left alone: " + _counts(expected), flush=True)
        number = 0
        while done < given.times:
            number += 1
            found, killed = play(trained, Path(name) / f"round-{number}", chance, kills=given.times - done)
            done += killed
            differences = compare(expected, found)
            worst = max(worst, len(differences))
            print(f"round {number}: {killed} kills, {done} in all; {len(differences)} differences", flush=True)
            for line in differences[:5]:
                print(f"  {line}", flush=True)
    print(f"  {'held  ' if not worst else 'MISSED'}  {done} kills, at most {worst} differences in a round")
    return 1 if worst else 0


def make_project(folder: Path) -> Path:
    """Make the flights project with two airlines and two airports, and train its first champion."""
    templates.init("flights", folder)
    end = parse_time(END)
    for path in (folder / "data" / "flights").glob("*.parquet"):
        rows = pl.read_parquet(path).filter(
            pl.col("carrier").is_in(["UA", "MQ"]) & (pl.col("scheduled_at") < end) & (pl.col("origin") != "JFK")
        )
        rows.write_parquet(path) if rows.height else path.unlink()
    policy = yaml.safe_load((folder / "trimtab.yaml").read_text())
    for section, changes in POLICY.items():
        policy.setdefault(section, {}).update(changes)
    (folder / "trimtab.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    subprocess.run(
        [sys.executable, "-m", "trimtab.cli", "run", "--project", str(folder), "--as-of", TRAINED_UNTIL],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def play(trained: Path, folder: Path, chance: random.Random, *, kills: int) -> tuple[dict[str, Any], int]:
    """Play the weeks on a copy with up to so many kills; return its records and how many there were."""
    shutil.copytree(trained, folder)
    clock, killed = SystemClock(), 0
    with _ending(Loop(folder)) as loop:
        loop.start()
        while not loop.over():
            if killed < kills:
                pause = chance.uniform(0.5, 5.0)
                waited = 0.0
                while waited < pause and not loop.over():
                    clock.sleep(POLL_S)
                    waited += POLL_S
                if loop.over():
                    break
                loop.kill(KINDS[killed % len(KINDS)])
                killed += 1
            clock.sleep(POLL_S)
            assert loop.replay is not None
            if loop.replay.poll() not in (None, 0, -9) and kills == 0:
                raise SystemExit(f"the replay that was left alone failed: {loop.words()}")
            loop.start()
    return books(folder), killed


def books(folder: Path) -> dict[str, Any]:
    """Return what the project has on record, without what differs by nature."""
    workspace = open_workspace(folder)
    found: dict[str, Any] = {}
    for kind in COMPARED:
        for record in workspace.metadata.find(kind, oldest_first=True):
            found[f"{kind.KIND} {record.id}"] = plain_record(record)
    for name, table in (
        ("prediction", workspace.predictions.read()[0]),
        ("label", workspace.predictions.read_labels()[0]),
    ):
        served = table.filter(table["served"]) if "served" in table.column_names else table
        found.update({f"{name} {id_}": times for id_, times in Counter(served["prediction_id"].to_pylist()).items()})
    return found


def compare(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return a line for each record that is missing, more than expected, or different."""
    lines = [f"missing: {key}" for key in expected.keys() - found.keys()]
    lines += [f"not expected: {key}" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        if expected[key] != found[key]:
            lines.append(f"different: {key}: {_first_difference(expected[key], found[key])}")
    return sorted(lines)


def plain_record(record: Record) -> dict[str, Any]:
    """Return the fields of a record without those that differ by nature."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    plain = {name: value for name, value in plain.items() if name not in DIFFERENT_BY_NATURE}
    if isinstance(record, WindowReport):
        plain["metrics"] = {name: value for name, value in record.metrics.items() if name not in MEASURED}
    if isinstance(record, WorkflowStep) and record.step in ("train", "refit"):
        del plain["outcome"]  # names the run and its CPU seconds
    return plain


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one:
            if one[name] != other.get(name):
                return f"{name}: {str(one[name])[:150]} / {str(other.get(name))[:150]}"
    return f"{one} / {other}"


def _counts(found: dict[str, Any]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in Counter(key.split()[0] for key in found).items())


@contextmanager
def _ending(loop: Loop) -> Iterator[Loop]:
    try:
        yield loop
    finally:
        loop.stop()


def _wait_until(condition: Any, what: str) -> None:
    clock, waited = SystemClock(), 0.0
    while not condition():
        clock.sleep(POLL_S)
        waited += POLL_S
        if waited > PATIENCE_S:
            raise SystemExit(f"waited {PATIENCE_S:.0f} s in vain: {what}")


def _kill(*pids: int) -> None:
    for pid in pids:
        for process in tree(pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
