"""The stages as a pipeline calls them, push after push: a sample, a change taken back, a run repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kit.commands import typed
from kit.small_project import POLICY, ROWS, make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "small")


QUICK = POLICY.replace("training: {", "training: { refit: never,").replace("gates: {", "gates: { robustness: null,")


def pushed(project: Path, policy: str, reason: str) -> list[str]:
    """Run what a push runs, with another policy; return the bundles in service, the champion's first."""
    (project / "trimtab.yaml").write_text(policy)
    for verb in ("ingest", "features", "train", "evaluate", "register"):
        typed(verb, "-p", project)
    return deployed(project, reason)


def deployed(project: Path, reason: str) -> list[str]:
    file = project / "passed" / "risk"
    options = ("--as", "champion", "--once", "--version-file", file, "--reason", reason)
    done = typed("deploy", *options, "-p", project, "--json")
    assert f"risk/{file.read_text().strip()}" == bundles(newest(project))[0]  # what serves, deployed now or not
    return bundles(json.loads(done.stdout))


def bundles(revision: dict[str, Any]) -> list[str]:
    return [each["bundle"] for each in revision["assignments"]]


def newest(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(typed("history", "-p", project, "--json").stdout)[0]
    return found


def test_a_change_that_is_taken_back_brings_back_what_it_replaced(project: Path) -> None:
    assert pushed(project, QUICK, "commit a")[0] == "risk/1"
    assert pushed(project, QUICK.replace("max_iter: 8", "max_iter: 9"), "commit b")[0] == "risk/2"
    assert pushed(project, QUICK, "commit c")[0] == "risk/1"

    number = newest(project)["number"]
    assert deployed(project, "commit c")[0] == "risk/1"
    assert newest(project)["number"] == number  # the run of a commit was repeated, and nothing has changed
    typed("rollback", "--to", "2", "-p", project)
    deployed(project, "commit c")
    assert bundles(newest(project))[0] == "risk/2"  # what a person rolled back does not come back by itself
    assert deployed(project, "commit d")[0] == "risk/1"


def test_a_sample_is_the_first_files_with_enough_rows(project: Path) -> None:
    rows, third = pl.read_parquet(project / "rows.parquet"), ROWS // 3
    (project / "data").mkdir()
    for place, name in enumerate(("a", "b", "c")):
        rows[place * third : (place + 1) * third].write_parquet(project / "data" / f"{name}.parquet")
    definitions = project / "definitions.py"
    definitions.write_text(definitions.read_text().replace('"rows.parquet", ', '"data", '))

    taken = json.loads(typed("ingest", "--rows", str(third + 1), "-p", project, "--json").stdout)
    assert [(each["file"], each["rows_added"]) for each in taken] == [
        ("data/a.parquet", third),
        ("data/b.parquet", third),
    ]
    assert len(json.loads(typed("ingest", "-p", project, "--json").stdout)) == len("abc")  # the rest comes later


def test_a_sample_and_a_rebuild_exclude_each_other(project: Path) -> None:
    done = typed("ingest", "rows", "--rows", "3", "--rebuild", "-p", project, check=False)
    assert (done.returncode, "leave one out" in done.stderr) == (2, True)
