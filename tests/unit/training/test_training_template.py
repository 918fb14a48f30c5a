"""The migrated empty database: made once, copied, made again when damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trimtab.training.client import load_mlflow
from trimtab.training.template import is_sound, prepare


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
    database.write_bytes(b"mine")
    prepare(database, template.parent)
    assert database.read_bytes() == b"mine"


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
    assert not (tmp_path / "mlflow.db").exists()
    assert "no template of the tracking database" in caplog.text
