"""The process that reads streams, as a child of `trimtab up`, with the broker of this machine.

Serving never depends on it.
"""

from __future__ import annotations

from trimtab.app.ingestion.progress import read_ingestion
from trimtab.app.ingestion.streaming import LOCK, needs_local_broker, streaming_sources
from trimtab.app.project.broker import RunningBroker, start_broker, stop_broker
from trimtab.app.project.kept_process import KeptProcess
from trimtab.app.project.locks import holder
from trimtab.app.project.workspace import Workspace


class IngestionProcess:
    """Reads the streams of a project in a process of its own; without streams it does nothing."""

    def __init__(self, workspace: Workspace, *, environment: str) -> None:
        self._workspace = workspace
        self._sources = streaming_sources(workspace)
        self._process = KeptProcess(
            workspace,
            ["stream"],
            environment=environment,
            what="reads streams",
            log_name="stream.log",
            other=self._other,
        )

    @property
    def streams(self) -> list[str]:
        """Names of the streams."""
        return [source.name for source in self._sources]

    def start(self) -> RunningBroker | None:
        """Start the broker of this machine, if a stream needs it, and the process; return the broker."""
        broker = None
        if needs_local_broker(self._workspace, self._sources):
            broker, _ = start_broker(self._workspace)
        self.watch()
        return broker

    def watch(self) -> None:
        """Start the process if none runs, not before its pause has passed."""
        if self._sources:
            self._process.watch()

    def stop(self) -> None:
        """Let the process land what it has read, end it, and the broker of this machine after it."""
        self._process.stop()
        if needs_local_broker(self._workspace, self._sources):
            stop_broker(self._workspace)

    def _other(self) -> int | None:
        """Return a process that reads streams and is no child of this one."""
        found = read_ingestion(self._workspace.run_folder)
        if found is not None:
            return found.pid
        held = holder(self._workspace, LOCK)
        return None if held is None else held.pid
