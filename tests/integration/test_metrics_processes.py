"""Counts of several workers that are killed and started again: their sum never falls."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from trimtab.serving.telemetry.counts_folder import SnapshotFolder, read_all
from trimtab.stats.gateway_counts import Snapshot

WORKER = """
import sys
from pathlib import Path
from trimtab.serving.core.worker_metrics import Metrics

metrics = Metrics(Path(sys.argv[1]), worker=sys.argv[2])
print(metrics.counts.labels, flush=True)
while True:
    metrics.counts.labels += 1
    metrics.refuse(400)
    metrics.save()
"""
WORKERS = 2
KILLS = 6


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), name], stdout=subprocess.PIPE, text=True, bufsize=1
    )


def wait_beyond(folder: Path, labels: int) -> Snapshot:
    """Return the first sum with more labels; on the way it must not fall."""
    last = read_all(folder)
    while True:
        found = read_all(folder)
        assert found.labels >= last.labels
        assert found.refused.get(400, 0) >= last.refused.get(400, 0)
        if found.labels > labels:
            return found
        last = found


def test_the_sum_never_falls_however_often_workers_are_killed(tmp_path: Path) -> None:
    running = {name: start(tmp_path, name) for name in map(str, range(WORKERS))}
    try:
        for name in running:
            while (found := SnapshotFolder(tmp_path).read(name)) is None or not found.labels:
                assert running[name].poll() is None
        seen = wait_beyond(tmp_path, 0)
        for kill in range(KILLS):
            name = str(kill % WORKERS)
            running[name].send_signal(signal.SIGKILL)
            running[name].wait()
            kept = read_all(tmp_path)
            assert kept.labels >= seen.labels
            running[name] = start(tmp_path, name)
            out = running[name].stdout
            assert out is not None
            assert int(out.readline()) > 0  # it went on from its predecessor's counts
            seen = wait_beyond(tmp_path, kept.labels)
    finally:
        for worker in running.values():
            worker.kill()
            worker.communicate()
