"""Lets the streams of a project flow: `trimtab stream`, which `trimtab up` runs as a child."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from trimtab.app.ingestion.flow import Flow
from trimtab.app.ingestion.progress import progress_line, write_ingestion
from trimtab.app.project.broker import running_broker, start_broker, stop_broker
from trimtab.app.project.locks import LOOP, holder, locked
from trimtab.app.project.process_files import own_pid
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import chosen_sources
from trimtab.definitions.kafka_source import KafkaSource
from trimtab.definitions.push_source import PushSource
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError, UsageError
from trimtab.records.stream_progress import PROGRESS, IngestionProgress, StreamProgress

SHOW_S = 10.0
"""Time between two lines about a stream that flows."""
WRITE_S = 0.5
LOCK = "stream"
STREAMS = (KafkaSource, PushSource)
IN_MEMORY = "it keeps messages in memory alone: what is not landed is gone when it ends"


def streaming_sources(workspace: Workspace) -> list[Source]:
    """Return the sources of a project whose rows come as streams."""
    return [each for each in workspace.project.definitions.sources.values() if isinstance(each, STREAMS)]


def needs_local_broker(workspace: Workspace, sources: Sequence[Source]) -> bool:
    """Return True if one of the sources is read from the broker of this machine."""
    return workspace.environment.stream is None and any(
        isinstance(source, KafkaSource) and source.servers is None for source in sources
    )


def stream(
    workspace: Workspace,
    name: str | None = None,
    *,
    until_caught_up: bool = False,
    values: bool = True,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> tuple[StreamProgress, ...]:
    """Let one stream of the project, or all, flow until `stop` or until all are caught up; return what was done.

    values: whether online values are brought up to date; else rows land alone.
    Raises UsageError without a stream, Locked when another process reads them, and with `until_caught_up` the error
    that ended a stream.
    """
    sources = _chosen(workspace, name)
    why = "The streams of a project are read by one process"
    lock = LOCK if name is None else f"{LOCK}-{name}"
    with locked(workspace, lock, "trimtab stream", why=why):
        local = needs_local_broker(workspace, sources)
        if local:
            broker, started = start_broker(workspace)
            say(f"broker   {broker.address}{'' if started else ' (was running already)'}; {IN_MEMORY}")
        try:
            flows = [Flow(workspace, source, values=values) for source in sources]
            return _flow(workspace, flows, until_caught_up=until_caught_up, local=local, say=say, stop=stop)
        finally:
            if local and holder(workspace, LOOP) is None:
                stop_broker(workspace)  # else `up` does, which started it


def _chosen(workspace: Workspace, name: str | None) -> list[Source]:
    if name is None:
        found = streaming_sources(workspace)
        if not found:
            raise UsageError(
                f"{workspace.project.definitions.path} has no stream; add one with: tt.KafkaSource('payments', "
                "'payments-topic', timestamp='paid_at')"
            )
        return found
    (one,) = chosen_sources(workspace, name)
    if not isinstance(one, STREAMS):
        raise DefinitionError(f"source '{name}' is a {type(one).__name__}, whose rows come by: trimtab ingest {name}")
    return [one]


def _flow(
    workspace: Workspace,
    flows: Sequence[Flow],
    *,
    until_caught_up: bool,
    local: bool,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> tuple[StreamProgress, ...]:
    ended, since = threading.Event(), workspace.now()
    threads = [
        threading.Thread(
            target=flow.run, args=(ended,), kwargs={"until_caught_up": until_caught_up}, name=flow.progress.source
        )
        for flow in flows
    ]
    for thread in threads:
        thread.start()
    told: dict[str, tuple[int, str | None]] = {}
    shown = 0.0
    try:
        while any(thread.is_alive() for thread in threads) and not stop():
            workspace.clock.sleep(WRITE_S if not until_caught_up else WRITE_S / 10)
            found = tuple(flow.progress for flow in flows)
            write_ingestion(workspace.run_folder, IngestionProgress(pid=own_pid(), since=since, streams=found))
            shown += WRITE_S
            if local and running_broker(workspace.run_folder) is None:
                again = start_broker(workspace)[0].address
                say(f"broker   {again} (started again; the messages of the one before are gone)")
            for one in found:
                rows, trouble = told.get(one.source, (0, None))
                if one.trouble != trouble or (one.rows != rows and shown >= SHOW_S):
                    say(progress_line(one))
                    told[one.source] = one.rows, one.trouble
            shown = 0.0 if shown >= SHOW_S else shown
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        with suppress(OSError):
            (workspace.run_folder / PROGRESS).unlink()
    for flow in flows:
        if flow.failure is not None:
            raise flow.failure
    return tuple(flow.progress for flow in flows)
