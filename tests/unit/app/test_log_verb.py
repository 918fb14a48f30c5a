"""`trimtab log`: the newest rows, the rows of an id with the label of its model that counts, compaction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.log import app
from trimtab.clock import SystemClock, to_micros
from trimtab.errors import NotFound, UsageError
from trimtab.stores.predictions.segments import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "trimtab.yaml").write_text("project: logged\n")
    (tmp_path / "definitions.py").write_text("")
    log, now = SegmentLog(tmp_path / ".trimtab" / "predictions"), to_micros(SystemClock().now())
    log.append(prediction_rows([f"id-{n}" for n in range(12)], logged_at=[now] * 12))
    log.append_labels(label_rows(["id-3", "id-3"], label=[1.0, 0.0], known_at=[2, 1], received_at=[now] * 2))
    log.append_labels(label_rows(["id-3"], model=["price"], label=[0.0], known_at=[3], received_at=[now]))
    log.close()
    return tmp_path


def run(project: Path, *arguments: str) -> str:
    found = CliRunner().invoke(app, ["log", *arguments, "--project", str(project)], catch_exceptions=False)
    assert found.exit_code == 0
    return found.output


def test_tail_shows_the_newest_rows(project: Path) -> None:
    rows = json.loads(run(project, "tail", "--rows", "2", "--json"))
    assert [row["prediction_id"] for row in rows] == ["id-10", "id-11"]
    assert "id-11" in run(project, "tail")


def test_show_gives_the_rows_of_an_id_and_its_label(project: Path) -> None:
    found = json.loads(run(project, "show", "id-3", "--json"))
    assert [row["prediction_id"] for row in found["predictions"]] == ["id-3"]
    assert found["label"]["label"] == 1.0
    assert "id-3" in run(project, "show", "id-3")


def test_compact_says_what_it_did(project: Path) -> None:
    done = json.loads(run(project, "compact", "--json"))
    assert (done["segments"], done["rows"]) == (2, 15)
    assert "predictions: 0 segments moved" in run(project, "compact")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tali"], UsageError),
        (["show"], UsageError),
        (["tail", "id-3"], UsageError),
        (["show", "nobody"], NotFound),
    ],
)
def test_what_makes_no_sense_is_refused(project: Path, arguments: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        run(project, *arguments)
