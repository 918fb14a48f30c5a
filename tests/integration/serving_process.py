"""A gateway over the embedded stores of a folder: serving_process.py FOLDER [PORT [WORKERS [GRPC_PORT [DELAY]]]].

GRPC_PORT -1: none. DELAY: seconds for which it goes on when it is told to end.

The same file is the program of its workers: python serving_process.py worker FILE.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from trimtab.clock import SystemClock
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import Configure, Gap, Grant, ModelOrder
from trimtab.serving.processes.listening import GatewayConfig
from trimtab.serving.processes.revision_follower import Revisions
from trimtab.serving.processes.supervisor import serve
from trimtab.serving.processes.worker import WorkerResources, run_worker
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog


def means(first: Configure) -> WorkerResources:
    """Open what a worker needs."""
    root = Path(first.setup["root"])
    log = SegmentLog(root / "log", writer=first.worker, segment_rows=2_000)
    return WorkerResources(predictions=log, vectorizer_factory=NumericColumns)


class Control:
    """Follows the revisions and nothing else."""

    def __init__(self, root: Path) -> None:
        metadata, artifacts = SqlMetadata(root / "metadata.db"), FolderArtifacts(root / "artifacts")
        self._revisions = Revisions(metadata, artifacts, SystemClock())

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return what should serve."""
        return self._revisions.poll()

    def grants(self) -> tuple[Grant, ...] | None:
        """Admit nobody in particular."""
        return None

    def guard(self) -> None:
        """Look at nothing."""

    def gap(self, worker: str, gap: Gap) -> None:
        """Tell of a gap."""
        logging.error("gap of %d rows", gap.rows)


def main(root: Path, port: int = 0, workers: int = 1, grpc_port: int = -1, delay: int = 0) -> None:
    """Serve until told to stop."""
    serve(
        GatewayConfig(
            worker_command=(sys.executable, __file__, "worker"),
            setup={"root": str(root)},
            open_control=lambda: Control(root),
            options=WorkerOptions(durability="acknowledged", drain_delay_s=delay),
            run_folder=root / "run",
            port=port,
            workers=workers,
            grpc_port=None if grpc_port < 0 else grpc_port,
        )
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if sys.argv[1] == "worker":
        del sys.argv[1]
        run_worker(means)
    else:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
