"""Labels of turns from files: names, values, raters; taken once, all or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from trimtab.app.project.workspace import open_workspace
from trimtab.cli.labels import app
from trimtab.errors import DataError, UsageError
from trimtab.llm.redaction.project_key import project_key
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import turn_rows

CSV = """prediction_id,name,value,rater,known_at
t1,thumbs,down,anna,2026-03-01
t1,edited,0.4,,2026-03-02
t2,human:quality,pass,carla,2026-03-02
t2,human:quality,fail,dora,2026-03-02
t3,human:quality,,carla,2026-03-02
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "trimtab.yaml").write_text("project: desk\n")
    (tmp_path / "triage.md").write_text("# user\n{{ ticket }}\n")
    (tmp_path / "definitions.py").write_text(
        "import trimtab as tt\n"
        "local = tt.Endpoint('local', url='loopback', prices={'classifier': tt.Price(input=0.1, output=0.4)})\n"
        "triage = tt.Prompt('triage', file='triage.md', endpoint=local, model='classifier')\n"
    )
    log = SegmentLog(tmp_path / ".trimtab" / "predictions")
    log.append_turns(turn_rows(["t1", "t2"]))
    log.close()
    return tmp_path


def run(desk: Path, text: str | pl.DataFrame, *arguments: str) -> dict[str, Any]:
    file = desk / ("labels.csv" if isinstance(text, str) else "labels.parquet")
    if isinstance(text, str):
        file.write_text(text)
    else:
        text.write_parquet(file)
    command = ["labels", str(file), "--project", str(desk), "--json", *arguments]
    found = CliRunner().invoke(app, command, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.output))


def logged(desk: Path) -> list[tuple[Any, ...]]:
    rows = open_workspace(desk).predictions.read_labels()[0].to_pylist()
    names = ("prediction_id", "model", "name", "source", "rater", "label")
    return [(*(row[name] for name in names), f"{row['known_at']:%m-%d}") for row in rows]


def test_labels_of_turns_are_taken_once(desk: Path) -> None:
    done = run(desk, CSV)
    anna = project_key(desk / ".trimtab").of_name("user", "\x1fanna")
    assert (done["rows"], done["taken"], done["waiting"], done["unmatched"]) == (5, 4, 1, 0)
    assert logged(desk) == [
        ("t1", "triage", "thumbs", "user", anna, 1.0, "03-01"),
        ("t1", "triage", "edited", "user", None, 0.4, "03-02"),
        ("t2", "triage", "human:quality", "person", "carla", 0.0, "03-02"),
        ("t2", "triage", "human:quality", "person", "dora", 1.0, "03-02"),
    ]
    again = run(desk, CSV)
    assert (again["taken"], again["repeated"]) == (0, 4)
    assert len(logged(desk)) == 4


def test_a_label_that_says_something_else_is_kept_in_addition(desk: Path) -> None:
    run(desk, CSV)
    done = run(desk, "prediction_id,name,value,rater,known_at\nt1,thumbs,up,anna,2026-03-05\n")
    assert (done["taken"], done["contradicting"]) == (1, 1)


def test_a_file_without_names_gets_one_and_a_dry_run_writes_nothing(desk: Path) -> None:
    rows = pl.DataFrame({"turn": ["t1", "t9"], "value": [0.75, 0.0]})
    done = run(desk, rows, "--name", "human:quality", "--prediction-id", "turn", "--dry-run")
    assert (done["taken"], done["unmatched"], done["dry_run"]) == (2, 1, True)
    assert logged(desk) == []
    run(desk, rows, "--name", "human:quality", "--prediction-id", "turn")
    assert [row[-2] for row in logged(desk)] == [0.25, 1.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prediction_id,value\nt1,up\n", "no column 'name'.*--name"),
        ("prediction_id,name,value\nt1,thumbs,up\nt1,stars,5\n", "row 2: name is 'stars'; expected thumbs"),
        ("prediction_id,name,value\nt1,thumbs,0.5\n", "row 1: value is '0.5'; expected up or down"),
        ("prediction_id,name,value,known_at\nt1,thumbs,up,soon\n", "row 1: known_at is 'soon'"),
        ("id,name,value\nt1,thumbs,up\n", "no column 'prediction_id'"),
    ],
)
def test_a_wrong_row_refuses_the_file(desk: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        run(desk, text)
    assert logged(desk) == []


def test_a_name_is_for_prompts(desk: Path) -> None:
    with (desk / "definitions.py").open("a") as file:
        file.write(
            "rows = tt.FileSource('id', 'rows.parquet', timestamp='at')\n"
            "delay = tt.Model('delay', task='binary', examples=rows, label='late', features=['a'])\n"
        )
    with pytest.raises(UsageError, match="is a model"):
        run(desk, CSV, "--model", "delay", "--name", "thumbs")
