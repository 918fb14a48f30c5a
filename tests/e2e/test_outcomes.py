"""Outcomes that come as a table are what windows are judged on: gateway, ingest, label log, monitor."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from e2e.kit import Up
from kit.commands import typed
from kit.waiting import wait_for
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.process_files import read_progress
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.replay.client import Client
from trimtab.clock import SystemClock, to_micros
from trimtab.records.monitoring import LabelIntake, WindowReport
from trimtab.stats.metrics import metric_value
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows

DAY = datetime(2013, 3, 12, tzinfo=UTC)
DECLARED = """outcomes=tt.Outcomes(source=tt.FileSource("outcomes", "data/outcomes", timestamp="landed_at")),
"""


def asked(folder: Path, day: datetime) -> pl.DataFrame:
    """Return the flights of a day: fewer would be judged with those of the next one."""
    flights = pl.read_parquet(folder / "data" / "flights" / "*.parquet").sort("scheduled_at")
    return flights.filter(pl.col("scheduled_at").is_between(day, day + timedelta(days=1), closed="left"))


def predict(workspace: Workspace, flights: pl.DataFrame) -> tuple[list[str], list[float]]:
    """Ask the gateway for each flight; return ids and scores as it gave them."""
    names = [*workspace.model().request_columns]
    bodies = []
    for row in flights.with_columns(pl.col("scheduled_at").dt.epoch("us")).select(names).to_dicts():
        kinds = {str: "BYTES", int: "INT64", float: "FP64"}
        inputs = [
            {"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in row.items()
        ]
        bodies.append(msgspec.json.encode({"inputs": inputs}))
    found = running_gateway(workspace.run_folder)
    assert found is not None
    client = Client(url_of(found), SystemClock())
    answers = [msgspec.json.decode(answer.body) for answer in client.post_all("/v2/models/delay/infer", bodies)]
    client.close()
    scores = [next(o["data"][0] for o in a["outputs"] if o["name"] == "probability") for a in answers]
    return [answer["id"] for answer in answers], scores


def write(folder: Path, name: str, ids: list[str], late: np.ndarray, landed_at: list[datetime]) -> None:
    (folder / "data" / "outcomes").mkdir(exist_ok=True)
    frame = pl.DataFrame({"prediction_id": ids, "late": late, "landed_at": landed_at})
    frame.write_parquet(folder / "data" / "outcomes" / name)


def test_a_table_of_outcomes_is_what_windows_are_judged_on(project: Path, up: Up) -> None:
    # given a model that declares its outcomes, and predictions of a day that has passed
    definitions = project / "definitions.py"
    text = definitions.read_text()
    assert text.count('    label="late",\n') == 1
    definitions.write_text(text.replace('    label="late",\n', f'    label="late",\n    {DECLARED}'))
    up.start()
    workspace = open_workspace(project)
    flights = asked(project, DAY)
    ids, scores = predict(workspace, flights)
    count = len(ids)
    predict(workspace, asked(project, DAY + timedelta(days=2)).head(3))
    # when outcomes come: wrong ones, corrections that became known later, and labels of another model for the same ids
    late = (np.arange(count) % 3 == 0).astype(np.float64)
    landed = [moment + timedelta(hours=2) for moment in flights["scheduled_at"].to_list()]
    write(project, "1.parquet", ids[:9], 1 - late[:9], landed[:9])
    write(project, "2.parquet", ids, late, [moment + timedelta(hours=1) for moment in landed])
    other = SegmentLog(workspace.root / "predictions", "stranger")
    moments = [to_micros(moment + timedelta(hours=2)) for moment in landed]
    other.append_labels(
        label_rows(ids, model=["another"] * count, label=list(1 - late), known_at=moments, received_at=moments)
    )
    other.close()
    said = typed("ingest", "outcomes", "-p", project).stdout
    assert "labels    delay/outcomes@0: 9 taken, 0 repeated, 0 contradicting" in said
    assert f"labels    delay/outcomes@1: {count} taken, 0 repeated, 9 contradicting" in said

    # then the monitor of the running loop judges the day on the corrections
    def matured() -> WindowReport | None:
        found = workspace.metadata.find(WindowReport, model="delay", stage="matured", start=DAY)
        return found[0] if found else None

    wait_for(matured, "the day is judged on its labels")
    report = matured()
    assert report is not None
    assert (report.rows, report.labelled) == (count, count)
    for metric in ("log_loss", "brier"):
        expected = metric_value(metric, late, np.array(scores), threshold=0.5)
        assert report.metrics[metric] == pytest.approx(expected, rel=1e-6)
    # and labels that no prediction of their model has are given up in sight
    wait_for(lambda: (found := read_progress(workspace.run_folder)) and found.unmatched_labels, "some are given up")
    said = typed("status", "-p", project).stdout
    assert re.search(rf"labels: {2 * count + 9} taken in, [1-9]\d* unmatched", said), said
    # and every row was taken once, whoever looks again
    typed("ingest", "-p", project)
    labels = workspace.predictions.read_labels()[0]
    own = labels.filter(pl.Series(labels["model"].to_pylist()).eq("delay").to_arrow())
    assert own.num_rows == count + 9
    assert workspace.metadata.count(LabelIntake) == 2
    assert up.interrupt() == 0
