"""The migrated empty database: made once, copied, made again when damaged."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from trimtab.errors import StoreError
from trimtab.training.mlflow_client import load_mlflow
from trimtab.training.mlflow_template import is_sound, prepare


@pytest.fixture
def template(tracking_cache: Path, tmp_path: Path) -> Path:
    """The session's template."""
    load_mlflow()
    prepare(tmp_path / "first.db", tracking_cache)
    (found,) = tracking_cache.glob("mlflow-*.db")
    return found


def test_a_copy_is_a_whole_database_with_its_own_artifact_root(template: Path, tmp_path: Path) -> None:
    database = tmp_path / "project" / "mlflow.db"
    prepare(database, template.parent)
    assert is_sound(database)
    with closing(sqlite3.connect(database)) as connection:
        (location,) = connection.execute("SELECT artifact_location FROM experiments").fetchone()
    assert location.startswith((tmp_path / "project").as_uri())


def test_what_is_there_is_kept(template: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    prepare(database, template.parent)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO experiments (experiment_id, name) VALUES (7, 'mine')")
    prepare(database, template.parent)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM experiments WHERE name = 'mine'").fetchone() == (1,)


UNFINISHED = {
    "no version": "DELETE FROM alembic_version",
    "no experiment": "DELETE FROM experiments",
    "no tables": "DROP TABLE alembic_version",
}


@pytest.mark.parametrize("state", [*UNFINISHED, "cut off", "garbage", "empty"])
def test_a_database_that_was_not_finished_is_told_with_its_remedy_and_kept(
    template: Path, tmp_path: Path, state: str
) -> None:
    database = tmp_path / "mlflow.db"
    prepare(database, template.parent)
    if state in UNFINISHED:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(UNFINISHED[state])
    else:
        content = {"cut off": database.read_bytes()[:3000], "garbage": b"x" * 9000, "empty": b""}[state]
        database.write_bytes(content)
    before = database.read_bytes()
    with pytest.raises(StoreError, match=r"not a complete MLflow database: .*trimtab repair"):
        prepare(database, template.parent)
    assert database.read_bytes() == before


def test_a_full_disk_leaves_no_database_and_the_next_try_makes_one(
    template: Path, small_disk: Path, tmp_path: Path
) -> None:
    # given a disk without room for a database, on which the cache lies as well or not
    database = small_disk / "project" / "mlflow.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    for cache in (template.parent, small_disk / "cache"):
        with pytest.raises(StoreError, match=r"mlflow\.db cannot be made: .*Make room"):
            prepare(database, cache)
        assert not database.exists()
    # when there is room again
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    prepare(database, template.parent)
    assert is_sound(database)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_a_damaged_template_is_not_sound(template: Path, tmp_path: Path, damage: str) -> None:
    content = template.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "empty": b"", "garbage": b"x" * len(content)}[damage]
    (tmp_path / "t.db").write_bytes(damaged)
    assert not is_sound(tmp_path / "t.db")


def test_a_damaged_template_is_made_again(template: Path, tmp_path: Path) -> None:
    # given a cache whose template was cut off
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / template.name).write_bytes(template.read_bytes()[:5000])

    # when a project starts
    prepare(tmp_path / "mlflow.db", cache)

    # then both are whole, and nothing is left over
    assert is_sound(tmp_path / "mlflow.db")
    assert is_sound(cache / template.name)
    assert [path.name for path in cache.iterdir()] == [template.name]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_mlflow()
    (tmp_path / "file").write_text("in the way")
    prepare(tmp_path / "mlflow.db", tmp_path / "file" / "cache")
    assert is_sound(tmp_path / "mlflow.db")
    assert "no template of the tracking database" in caplog.text
