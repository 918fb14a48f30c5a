"""`trimtab stream` brings pushed rows into their table."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest

from trimtab.app.ingestion.streaming import needs_local_broker, stream, streaming_sources
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages.ingesting import ingest, validate
from trimtab.clock import to_micros
from trimtab.errors import DefinitionError, StageError
from trimtab.stores.catalog import spool_folder
from trimtab.stores.spool import Pushed, SpoolWriter, segments

DEFINITIONS = """
import trimtab as tt

clicks = tt.PushSource("clicks", schema={"user": "text", "at": "time", "price": "number"}, timestamp="at")
user = tt.Entity("user")
spent = tt.FeatureView("spent", user, clicks, [tt.sum("price", "1d")])
orders = tt.FileSource("orders", "orders.parquet", timestamp="at")
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "trimtab.yaml").write_text("project: p\n")
    return open_workspace(tmp_path)


def push(workspace: Workspace, *prices: float) -> SpoolWriter:
    now = workspace.now()
    rows = [{"user": "ada", "at": now.isoformat(), "price": price} for price in prices]
    writer = SpoolWriter(spool_folder(workspace.root, "clicks"))
    writer.append([Pushed(to_micros(now), None, [msgspec.json.encode(row) for row in rows])])
    return writer


def test_pushed_rows_flow_into_the_table(workspace: Workspace) -> None:
    assert [source.name for source in streaming_sources(workspace)] == ["clicks"]
    assert not needs_local_broker(workspace, streaming_sources(workspace))
    push(workspace, 2.0, 3.0).close()
    (progress,) = stream(workspace, until_caught_up=True, say=lambda line: None)
    assert (progress.source, progress.rows, progress.caught_up) == ("clicks", 2, True)
    assert workspace.tables.scan("clicks").collect()["price"].to_list() == [2.0, 3.0]
    assert segments(spool_folder(workspace.root, "clicks")) == []
    (progress,) = stream(workspace, until_caught_up=True, say=lambda line: None)
    assert progress.rows == 0


def test_a_file_source_is_no_stream(workspace: Workspace) -> None:
    with pytest.raises(DefinitionError, match="source 'orders' is a FileSource, whose rows come by: trimtab ingest"):
        stream(workspace, "orders", until_caught_up=True, say=lambda line: None)


def test_a_source_without_rows_yet_keeps_no_other_from_being_validated(workspace: Workspace) -> None:
    rows = pl.DataFrame({"id": [1], "at": [datetime(2026, 1, 1, tzinfo=UTC)]})
    rows.write_parquet(workspace.project.folder / "orders.parquet")
    ingest(workspace)
    assert [report.table for report in validate(workspace)] == ["orders"]
    with pytest.raises(StageError, match="table 'clicks' is empty"):
        validate(workspace, "clicks")
