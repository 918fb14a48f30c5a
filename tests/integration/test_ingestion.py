"""The process that reads streams: with the broker of this machine, alone and as a child of `up`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from kit.broker import PROGRAM
from kit.commands import trimtab
from kit.waiting import wait_for
from trimtab import settings
from trimtab.app.ingestion.child import IngestionProcess
from trimtab.app.ingestion.progress import progress_line, read_ingestion, write_ingestion
from trimtab.app.project.broker import running_broker, start_broker, stop_broker
from trimtab.app.project.process_files import is_running, own_pid
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.status import status
from trimtab.records.data import TableVersion
from trimtab.records.stream_progress import IngestionProgress, StreamProgress

DEFINITIONS = """
import trimtab as tt
payments = tt.KafkaSource("payments", "payments", timestamp="at", batch_time="100ms")
spent = tt.FeatureView("spent", tt.Entity("card"), payments, [tt.count("1h")])
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    if not os.access(PROGRAM, os.X_OK):
        (pytest.fail if settings.read().ci else pytest.skip)("no broker for this machine is installed")
    (tmp_path / "trimtab.yaml").write_text("project: shop\n")
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    found = open_workspace(tmp_path)
    yield found
    stop_broker(found)


def send(workspace: Workspace, *values: bytes) -> None:
    broker = running_broker(workspace.run_folder)
    assert broker is not None
    producer = Producer({"bootstrap.servers": broker.address, "log_level": 2})
    for value in values:
        producer.produce("payments", value=value)
    assert producer.flush(20) == 0


def payment(id_: int) -> bytes:
    return json.dumps({"id": id_, "card": "a", "at": "2026-01-01T00:00:00Z"}).encode()


def stream(workspace: Workspace) -> StreamProgress | None:
    found = read_ingestion(workspace.run_folder)
    return None if found is None else found.streams[0]


def ids(workspace: Workspace) -> list[int]:
    return sorted(workspace.tables.scan("payments").collect()["id"].to_list())


def test_stream_until_caught_up_lands_what_there_is_and_tells_what_it_refused(workspace: Workspace) -> None:
    address, started = start_broker(workspace)
    assert started
    assert start_broker(workspace) == (address, False)
    send(workspace, payment(1), b"no json", payment(2))
    done = trimtab("stream", "--until-caught-up", "--json", "--project", workspace.project.folder)
    (found,) = json.loads(done.stdout)
    assert (found["rows"], found["refused"], found["lag"], found["caught_up"]) == (2, 1, 0, True)
    assert ids(workspace) == [1, 2]
    assert [v.rows for v in workspace.metadata.find(TableVersion, table="payments")] == [2]
    assert running_broker(workspace.run_folder) is None  # no `up` uses it


def test_the_child_of_up_lives_again_after_it_and_its_broker_were_killed(workspace: Workspace) -> None:
    child = IngestionProcess(workspace, environment="local")
    broker = child.start()
    assert broker is not None
    try:
        wait_for(lambda: stream(workspace), "the stream")
        send(workspace, payment(1))
        wait_for(lambda: workspace.tables.version("payments") is not None, "the first row")
        first = read_ingestion(workspace.run_folder)
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: not is_running(first.pid), "the end of the process")

        def lives_again() -> bool:
            child.watch()
            found = read_ingestion(workspace.run_folder)
            return found is not None and found.pid != first.pid

        wait_for(lives_again, "another process")
        os.kill(broker.pid, signal.SIGKILL)
        wait_for(lambda: (found := running_broker(workspace.run_folder)) and found.pid != broker.pid, "another broker")
        wait_for(lambda: (one := stream(workspace)) and one.epoch == 1, "the next epoch")
        again = running_broker(workspace.run_folder)
        assert again is not None
        assert again.address == broker.address
        send(workspace, payment(2))
        wait_for(lambda: ids(workspace) == [1, 2], "the second row")
    finally:
        child.stop()
    assert running_broker(workspace.run_folder) is None
    assert read_ingestion(workspace.run_folder) is None
    assert workspace.metadata.find(TableVersion, table="payments")[0].rows == 2


def test_status_says_how_far_streams_are_and_that_none_is_read(workspace: Workspace) -> None:
    (one,) = status(workspace)["streams"]
    assert one["trouble"] == "no process reads it; run: trimtab up, or: trimtab stream"
    progress = StreamProgress(source="payments", rows=7)
    write_ingestion(workspace.run_folder, IngestionProgress(pid=own_pid(), since=workspace.now(), streams=(progress,)))
    assert status(workspace)["streams"][0]["rows"] == 7


def test_lines_about_a_stream_name_what_matters() -> None:
    assert progress_line(StreamProgress(source="a", trouble="no broker")) == "stream   a: does not flow: no broker"
    one = StreamProgress(source="a", rows=1_200, refused=3, lag=7, freshness_s=0.25, losses=1, last_loss="gone")
    assert progress_line(one) == (
        "stream   a: 1,200 rows, 0 a second, 3 in quarantine, 7 messages behind, freshness 0.2 s, 1 losses, the last: "
        "gone"
    )
