"""Ids of twenty digits, or such as 12e4, stay what they are: in tables, joins, the online store and requests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from e2e.small_project import START
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import DataError, DefinitionError
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.training_frames import request_types
from trimtab.stores.tables.delta import DeltaTables

DEFINITIONS = """
import trimtab as tt

b = tt.FileSource("b", "data/b", timestamp="at"MORE)
c = tt.FileSource("c", "data/c", timestamp="at"MORE)
v = tt.FeatureView("v", tt.Entity("e", keys=["id"]), b, [tt.count("9d"), tt.last("x")])
m = tt.Model("m", task="regression", examples=c, label="y", features=[v, "q"])
"""
POLICY = "project: ids\ntraining: { min_examples: 4 }\nrollout: { promote_when: { metric: rmse } }\n"


def project(folder: Path, ids: tuple[str, str], examples: tuple[str, str] | None = None, more: str = "") -> Workspace:
    """A project in which the first id has x = 1 and the second x = 2."""
    for name in "bc":
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
    rows = [f"{id_},2024-01-01T00:00:00Z,{x}" for x, id_ in enumerate(ids, start=1)]
    (folder / "data" / "b" / "1.csv").write_text("\n".join(["id,at,x", *rows]) + "\n")
    rows = [f"{id_},2024-01-02T0{hour}:00:00Z,0.5,{hour}" for hour in range(4) for id_ in examples or ids]
    (folder / "data" / "c" / "1.csv").write_text("\n".join(["id,at,q,y", *rows]) + "\n")
    (folder / "definitions.py").write_text(DEFINITIONS.replace("MORE", more))
    (folder / "trimtab.yaml").write_text(POLICY)
    return open_workspace(folder)


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        (("12345678901234567890", "12345678901234567891"), ("12345678901234567890", "12345678901234567891")),
        (("12e4", "4711e9"), ("12e4", "4711e9")),
        (("007", "7"), ("007", "7")),
        (("7.0", "8"), (7, 8.0)),
        (("9007199254740993", "9007199254740992"), (9007199254740993, 9007199254740992)),
    ],
)
def test_two_ids_stay_two_from_the_file_to_the_request(
    tmp_path: Path, ids: tuple[str, str], asked: tuple[object, object]
) -> None:
    ws = project(tmp_path, ids)
    ingesting.ingest(ws)
    dataset = pipeline.snapshot(ws, "m", as_of=START + timedelta(days=3))
    assert dataset.labelled == 8
    model = ws.model("m")
    kinds = request_types(model, ws.scan())
    at = [dataset.as_of.replace(day=2).timestamp()] * 2
    found = OnlinePlan(model, ws.online, kinds).vectors({"id": asked, "q": [0.5, 0.5]}, [int(t * 1e6) for t in at])
    assert found[:, :2].tolist() == [[1.0, 1.0], [1.0, 2.0]]


def test_a_later_file_with_letters_is_taken_where_ids_are_text(tmp_path: Path) -> None:
    ws = project(tmp_path, ("12345678901234567890", "12345678901234567891"))
    ingesting.ingest(ws)
    (tmp_path / "data" / "b" / "2.csv").write_text("id,at,x\nA1,2024-01-01T00:00:00Z,3\n")
    assert ingesting.ingest(ws, "b")[-1].rows_added == 1
    assert ws.tables.scan("b").collect()["id"].to_list()[-1] == "A1"


def test_a_table_that_took_ids_as_floats_is_mended_by_the_command_that_the_error_names(tmp_path: Path) -> None:
    # given a table as versions before made it: the file's hash, and its ids as floats
    ws = project(tmp_path, ("12345678901234567890", "12345678901234567891"))
    ingesting.ingest(ws)
    floats = ws.tables.scan("b").collect().with_columns(id=1.2345678901234567e19).to_arrow()
    DeltaTables(tmp_path / ".trimtab" / "tables").replace("b", floats, batch="as it was")
    # when a file comes, then the error names the command
    (tmp_path / "data" / "b" / "2.csv").write_text("id,at,x\nA1,2024-01-01T00:00:00Z,3\n")
    with pytest.raises(DataError, match=r"~ id: double in the table, string in the batch\n.*ingest b --rebuild"):
        ingesting.ingest(ws, "b")
    # and it mends: all ids are what they were in the file, old versions stay
    assert ingesting.rebuild(ws, "b").version.schema["id"] == "string"
    assert ws.tables.scan("b").collect()["id"].to_list() == ["12345678901234567890", "12345678901234567891"]
    assert ws.tables.scan("b", version=1).collect()["id"].dtype.is_float()
    assert ingesting.ingest(ws, "b")[-1].rows_added == 1


def test_keys_of_two_types_are_told_with_the_remedy_which_works(tmp_path: Path) -> None:
    ws = project(tmp_path, ("A1", "2"), examples=("1", "2"))
    ingesting.ingest(ws)
    with pytest.raises(DefinitionError, match=r"dtypes=\{'id': 'text'\}\) in both sources, .*--rebuild"):
        pipeline.snapshot(ws, "m", as_of=START + timedelta(days=3))
    ws = project(tmp_path, ("A1", "2"), examples=("1", "2"), more=", dtypes={'id': 'text'}")
    for source in "bc":
        ingesting.rebuild(ws, source)
    assert pipeline.snapshot(ws, "m", as_of=START + timedelta(days=3)).labelled == 8
