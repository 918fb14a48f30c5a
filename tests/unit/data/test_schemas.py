"""Finding the Pandera schema that the policy names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from trimtab.bundle.spec import ColumnCheck
from trimtab.data.schemas import column_checks, load_schema
from trimtab.errors import PolicyError

CHECKS = """
from __future__ import annotations

import pandera.polars as pa
from limits import LONGEST


class Flights(pa.DataFrameModel):
    distance: float = pa.Field(gt=0, lt=LONGEST)


weather = pa.DataFrameSchema({"temp": pa.Column(float)})
number = 42
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "checks.py").write_text(CHECKS)
    (tmp_path / "limits.py").write_text("LONGEST = 6000\n")
    (tmp_path / "trimtab.yaml").write_text("project: x\nchecks:\n  max_failing_rows: 1%\n  flights: checks.Flights\n")
    return tmp_path


def test_a_model_and_a_schema_are_found(project: Path) -> None:
    assert set(load_schema("checks.Flights", project, table="flights").columns) == {"distance"}
    assert set(load_schema("checks.weather", project, table="flights").columns) == {"temp"}


def test_modules_of_the_project_are_forgotten(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    # given two projects with modules of the same names
    other = tmp_path_factory.mktemp("other")
    (other / "checks.py").write_text(CHECKS)
    (other / "limits.py").write_text("LONGEST = 10\n")
    path = list(sys.path)
    # when both are loaded, then each has its own
    first = load_schema("checks.Flights", project, table="flights")
    second = load_schema("checks.Flights", other, table="flights")
    limits = [str(schema.columns["distance"].checks[1]) for schema in (first, second)]
    assert ["6000" in limit for limit in limits] == [True, False]
    assert "limits" not in sys.modules
    assert sys.path == path


def test_a_module_in_a_folder_is_found(project: Path) -> None:
    (project / "quality").mkdir()
    (project / "quality" / "rows.py").write_text("import pandera.polars as pa\nS = pa.DataFrameSchema({})\n")
    assert load_schema("quality.rows.S", project, table="flights").columns == {}


@pytest.mark.parametrize("name", ["check.Flights", "Checks", "flights"])
def test_a_missing_module_shows_line_key_and_the_nearest_one(project: Path, name: str) -> None:
    with pytest.raises(PolicyError, match=rf"trimtab\.yaml:4: checks\.flights: '{name}' is in no module"):
        load_schema(name, project, table="flights")
    with pytest.raises(PolicyError, match="Did you mean 'checks'"):
        load_schema("check.Flights", project, table="flights")


def test_a_missing_schema_shows_the_nearest_one(project: Path) -> None:
    with pytest.raises(PolicyError, match=r"checks\.py has no schema 'Flight'. Did you mean 'Flights'"):
        load_schema("checks.Flight", project, table="flights")


def test_something_else_than_a_schema_is_refused(project: Path) -> None:
    with pytest.raises(PolicyError, match=r"'checks.number' is 42; expected a pandera.polars DataFrameSchema"):
        load_schema("checks.number", project, table="flights")


@pytest.mark.parametrize(("text", "place"), [("x = 1\nnope()\n", "py:2: NameError"), ("x = (\n", "py:1: SyntaxError")])
def test_a_module_that_fails_shows_its_line(project: Path, text: str, place: str) -> None:
    (project / "broken.py").write_text(text)
    with pytest.raises(PolicyError, match=rf"checks\.flights: .*broken\.{place}"):
        load_schema("broken.Flights", project, table="flights")


def test_the_checks_of_a_schema_can_be_told_without_pandera(tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(
        """
import pandera.polars as pa


class Rows(pa.DataFrameModel):
    a: float = pa.Field(gt=0, lt=6000, nullable=True)
    b: int = pa.Field(in_range={"min_value": 1, "max_value": 5, "include_max": False})
    c: int = pa.Field(isin=[3, 1, 2])
    origin: str = pa.Field(isin=["JFK", "EWR"], str_length={"min_value": 2, "max_value": 3})
    odd: float = pa.Field(ne=3)
"""
    )
    found = column_checks(load_schema("checks.Rows", tmp_path, table="rows"))
    low, high = np.nextafter(0, 1), np.nextafter(6000, 0)
    assert found == {
        "a": ColumnCheck(lowest=low, highest=high, source="schema"),
        "b": ColumnCheck(lowest=1.0, highest=np.nextafter(5, 0), null=False, source="schema"),
        "c": ColumnCheck(lowest=1.0, highest=3.0, null=False, source="schema"),
        "origin": ColumnCheck(values=("EWR", "JFK"), shortest=2, longest=3, null=False, source="schema"),
        "odd": ColumnCheck(null=False, source="schema"),
    }
