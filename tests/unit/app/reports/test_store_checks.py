"""What is damaged in a project is found, told with a remedy, and repaired where it can be made again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from e2e.small_project import START, write_project
from trimtab.app.project.mlflow_access import open_registry, set_aliases
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.status import status as read_status
from trimtab.app.reports.store_checks import StoreFault, look_inside, repair
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import ActionError, StoreError
from trimtab.records.data import TableVersion
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest
from trimtab.testing.predictions import prediction_rows

AS_OF = START + timedelta(days=30)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two files, a bundle in service, online values and a log of three segments."""
    folder = write_project(tmp_path_factory.mktemp("made") / "project")
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    run = pipeline.train(workspace, "m", pipeline.snapshot(workspace, "m", as_of=AS_OF))
    bundle = pipeline.register(workspace, run, pipeline.evaluate(workspace, run))
    pipeline.deploy(workspace, bundle, cause="first", reason="test", by="test")
    workspace.online.write("view@1", [(b"%d" % n, n, bytes(2000)) for n in range(200)], until=1)
    for n in range(3):
        workspace.predictions.append(prediction_rows([f"p{n}"]))
        workspace.predictions.close()
    workspace.online.close()
    workspace.metadata.close()
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def faults(workspace: Workspace) -> list[StoreFault]:
    return [one for _, found in look_inside(workspace) for one in found]


def bundle_of(workspace: Workspace) -> Bundle:
    found = latest(workspace.metadata, Bundle, model="m")
    assert found is not None
    return found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    """Overwrite all pages but the first few, as a bad disk does."""
    content = path.read_bytes()
    path.write_bytes(content[:20_000] + bytes(len(content) - 20_000))


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_project_has_no_faults(project: Path) -> None:
    assert faults(open_workspace(project)) == []
    assert repair(open_workspace(project), dry_run=False) == []


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str, bool]] = {
    "changed record": (
        lambda root: execute(root / "metadata.db", "UPDATE trimtab_bundle SET body = substr(body, 1, 50)"),
        "store metadata",
        "bundle 'm/1' cannot be read",
        False,
    ),
    "damaged metadata": (lambda root: zero(root / "metadata.db"), "store metadata", "malformed", False),
    "cut registry": (lambda root: cut(root / "mlflow.db"), "registry", "mlflow.db", True),
    "cut online store": (lambda root: cut(root / "online" / "data.mdb"), "store online", "signal", True),
    "lost log entry": (
        lambda root: (root / "tables" / "examples" / "_delta_log" / f"{0:020}.json").unlink(),
        "store tables",
        "table 'examples'",
        True,
    ),
    "cut table file": (
        lambda root: cut(next((root / "tables" / "examples").glob("*.parquet"))),
        "store tables",
        "bytes instead of",
        True,
    ),
    "lost table": (
        lambda root: shutil.rmtree(root / "tables" / "examples"),
        "tables and records",
        "lost version",
        False,
    ),
    "lost segment": (
        lambda root: (root / "predictions" / "predictions-0-000002.frames").unlink(),
        "store predictions",
        "segment 2 of the predictions of writer '0' is gone",
        False,
    ),
    "lost last segment": (
        lambda root: (root / "predictions" / "predictions-0-000003.frames").unlink(),
        "store predictions",
        "segment 3 of the predictions of writer '0' is gone",
        False,
    ),
    "changed segment": (
        lambda root: flip(root / "predictions" / "predictions-0-000002.frames"),
        "store predictions",
        "damaged",
        False,
    ),
    "changed bundle": (
        lambda root: flip(next(root.glob("artifacts/bundles/m/*/model.onnx"))),
        "bundles",
        "differs",
        True,
    ),
    "lost bundle": (lambda root: shutil.rmtree(next(root.glob("artifacts/bundles/m/*"))), "bundles", "is gone", True),
    "lost training set": (
        lambda root: shutil.rmtree(next(root.glob("artifacts/datasets/m/*"))),
        "training sets",
        "is gone",
        False,
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_and_repaired_where_it_can_be(project: Path, name: str) -> None:
    damage, subject, text, can_be_repaired = DAMAGES[name]
    damage(project / ".trimtab")
    # given damage, then it is told with what to do
    first = faults(open_workspace(project))[0]
    assert (first.subject, text in first.fault.text) == (subject, True), first
    assert first.fault.remedy
    # when repairing is only tried, nothing changes
    tried = repair(open_workspace(project), dry_run=True)
    assert tried[0].done == can_be_repaired
    assert not (project / ".trimtab" / "aside").exists()
    assert faults(open_workspace(project))[0].fault.text == first.fault.text
    # when it is repaired, nothing is deleted, and what can be made again is
    done = repair(open_workspace(project), dry_run=False)
    assert [one.done for one in done] == [one.done for one in tried]
    workspace = open_workspace(project)
    if "table" in name or "log entry" in name:
        ingesting.ingest(workspace)
    if can_be_repaired or "table" in name:
        assert faults(workspace) == []
        aside = [path for path in (project / ".trimtab" / "aside").rglob("*") if path.is_file()]
        assert bool(aside) == (not name.startswith("lost") or name == "lost log entry")


@pytest.mark.parametrize("lost", ["entry", "table"])
def test_ingest_takes_in_again_what_a_table_has_lost(project: Path, lost: str) -> None:
    # given a table of two versions whose last one, or all, is lost
    shutil.copy(project / "data" / "examples.parquet", project / "data" / "examples.bak")
    workspace = open_workspace(project)
    before = latest(workspace.metadata, TableVersion, table="examples")
    log = project / ".trimtab" / "tables" / "examples"
    shutil.rmtree(log if lost == "table" else log / "_delta_log")
    if lost == "entry":
        (log / "_delta_log").mkdir()
    done = ingesting.ingest(open_workspace(project))
    assert [one.rows_added for one in done] == [600]
    assert latest(workspace.metadata, TableVersion, table="examples") == before
    assert pipeline.snapshot(open_workspace(project), "m", as_of=AS_OF).rows == 600
    # when the file is gone as well, that is said
    shutil.rmtree(log)
    (project / "data" / "examples.parquet").unlink()
    (project / "data" / "examples.bak").rename(project / "data" / "examples.parquet")
    (project / "data" / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"lost version 0 with the rows of data/examples\.parquet.*restore"):
        ingesting.ingest(open_workspace(project))


@pytest.mark.parametrize("how", [flip, cut, Path.unlink])
def test_a_damaged_bundle_is_refused_before_anything_changes(project: Path, how: Callable[[Path], None]) -> None:
    workspace = open_workspace(project)
    bundle = bundle_of(workspace)
    rollouts = open_rollouts(workspace, "m")
    other = workspace.metadata.find(Revision, model="m")
    how(workspace.artifacts.open(bundle.path) / "model.onnx")
    # given that something else serves
    without = Revision(
        **{
            **{name: getattr(other[0], name) for name in other[0].__struct_fields__},
            "id": "m#2",
            "number": 2,
            "cause": "other",
            "assignments": (),
        }
    )
    workspace.metadata.put(without)
    with pytest.raises(ActionError, match=r"m/1 is damaged, so nothing is changed: .*model\.onnx.*trimtab repair"):
        rollouts.deploy(bundle, cause="again", reason="test", by="test", role="champion")
    assert workspace.metadata.count(Revision, model="m") == 2
    # when it was repaired, it can be deployed
    assert all(one.done for one in repair(workspace, dry_run=False))
    assert rollouts.deploy(bundle, cause="again", reason="test", by="test", role="champion").number == 3


def test_a_bundle_of_an_earlier_release_is_packed_with_the_report_that_it_has(project: Path) -> None:
    # given a gate report whose record is written in another form than the bundle's file, as after an upgrade
    workspace = open_workspace(project)
    bundle = bundle_of(workspace)
    statement = 'UPDATE trimtab_gate_report SET body = replace(body, \'"details":{\', \'"details":{"new":1,\')'
    execute(project / ".trimtab" / "metadata.db", statement)
    flip(workspace.artifacts.open(bundle.path) / "model.onnx")
    assert [one.done for one in repair(workspace, dry_run=False)] == [True]
    assert faults(open_workspace(project)) == []


def test_a_registry_that_was_moved_aside_gets_its_versions_again(project: Path) -> None:
    cut(project / ".trimtab" / "mlflow.db")
    workspace = open_workspace(project)
    with pytest.raises(StoreError, match="trimtab repair"):
        open_registry(workspace)
    repair(workspace, dry_run=False)
    revision = open_rollouts(workspace, "m").current()
    assert revision is not None
    set_aliases(workspace, revision)
    assert open_registry(workspace).alias("m", "champion") == 1


def test_a_damaged_database_of_workflows_is_told_and_moved_aside(project: Path) -> None:
    workspace = open_workspace(project)
    path = workspace.root / "workflows.db"
    path.write_bytes(b"no database" * 1000)
    assert "file is not a database" in read_status(workspace)["workflows_trouble"]
    (found,) = faults(workspace)
    assert found.subject == "workflow database"
    assert "trimtab repair" in found.fault.remedy
    (done,) = repair(workspace, dry_run=False)
    assert done.done
    assert not path.exists()
    assert read_status(workspace)["workflows_trouble"] is None
    assert faults(workspace) == []
