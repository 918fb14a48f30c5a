"""A gateway process that other people's clients are let loose on. Used by the tests of clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from kit.waiting import PATIENCE_S, wait_for
from trimtab import settings
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle, revision

PROCESS = Path(__file__).parents[1] / "integration" / "serving_process.py"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
FEATURES = ("row", "wind")
SCORES = {1: (0.125, 0.75, 0.5), 2: (0.25, 0.875, 0.0)}
"""Version -> the scores of rows 0, 1 and 2."""


class Running:
    """Where a gateway listens, and what it logged."""

    def __init__(self, root: Path, found: Announcement) -> None:
        self.root = root
        self.pid = found.pid
        self.http = found.port
        self.grpc = found.grpc_port or 0

    def served(self) -> list[dict[str, Any]]:
        """Return the rows of the prediction log that were answered."""
        return [row for row in SegmentLog(self.root / "log").read()[0].to_pylist() if row["served"]]


def make_stores(root: Path, graphs: Mapping[int, bytes] | None = None) -> None:
    """Put two versions of "delay" into a folder: 1 is the champion, 2 a challenger without traffic.

    graphs: version -> model; left out, they look their scores up.
    """
    metadata, artifacts = SqlMetadata(root / "metadata.db"), FolderArtifacts(root / "artifacts")
    spec = plain_spec("delay", FEATURES, entity_keys=("carrier",))
    given = graphs or {version: lookup_graph(scores, len(FEATURES)) for version, scores in SCORES.items()}
    for version, graph in given.items():
        register_bundle(metadata, artifacts, graph, spec, version=version, created_at=NOW)
    metadata.put(revision("delay", 1, {1: ("champion", 100), 2: ("challenger", 0)}, created_at=NOW))
    metadata.close()


@contextmanager
def running_gateway(root: Path, **environment: str) -> Iterator[Running]:
    """Run a gateway over the stores of a folder, with gRPC, until the block ends."""
    with (root / "gateway.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), str(root), "0", "1", "0"],
            stdout=output,
            stderr=output,
            env=settings.child_environment(**environment),
        )
    try:
        yield _ready(root, process)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _ready(root: Path, process: subprocess.Popen[bytes]) -> Running:
    def ready() -> Running | None:
        assert process.poll() is None, (root / "gateway.log").read_text()
        try:
            found = msgspec.json.decode((root / "run" / ANNOUNCEMENT).read_bytes(), type=Announcement)
            if found.pid == process.pid and httpx.get(f"http://127.0.0.1:{found.port}/v2/health/ready").is_success:
                return Running(root, found)
        except (FileNotFoundError, httpx.TransportError):
            pass
        return None

    found: Running = wait_for(ready, "the gateway is ready")
    return found
