"""The table of backends: what opens from what, and what it says otherwise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import StoreError
from trimtab.records.serving import Revision
from trimtab.stores import catalog
from trimtab.testing.metadata import revision
from trimtab.testing.tables import batch

OPENERS: list[Callable[[str | None, Path], Any]] = [
    catalog.open_tables,
    catalog.open_online,
    catalog.open_artifacts,
    catalog.open_predictions,
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".trimtab"


def test_nothing_given_opens_the_embedded_stores_under_the_project(root: Path) -> None:
    for opener in (catalog.open_metadata, *OPENERS):
        store = opener(None, root)
        if hasattr(store, "close"):
            store.close()
    assert (root / "metadata.db").is_file()
    assert all((root / name).is_dir() for name in ("tables", "online", "artifacts"))


@pytest.mark.parametrize("opener", OPENERS)
def test_an_unknown_scheme_shows_the_valid_ones(opener: Callable[[str | None, Path], Any], root: Path) -> None:
    with pytest.raises(StoreError, match=r"no backend for 'fiel'. Did you mean 'file'"):
        opener("fiel:///x", root)


def test_an_unknown_database_shows_the_nearest_one(root: Path) -> None:
    with pytest.raises(StoreError, match=r"no backend for 'postgres'. Did you mean 'postgresql'"):
        catalog.open_metadata("postgres://host/db", root)


def test_paths_start_at_the_project_folder(root: Path, tmp_path: Path) -> None:
    catalog.open_tables("shared/tables", root).append("t", batch(1), batch="a")
    assert (tmp_path / "shared" / "tables" / "t").is_dir()
    catalog.open_metadata("sqlite:///books.db", root).close()
    assert (tmp_path / "books.db").is_file()


def test_absolute_places_are_taken_as_they_are(root: Path, tmp_path: Path) -> None:
    catalog.open_tables(f"file://{tmp_path}/with%20space", root).append("t", batch(1), batch="a")
    assert (tmp_path / "with space" / "t").is_dir()
    store = catalog.open_metadata(f"sqlite:///{tmp_path}/elsewhere.db", root)
    store.put(revision(1))
    assert store.count(Revision) == 1
    store.close()
    assert (tmp_path / "elsewhere.db").is_file()


def test_a_file_on_another_host_is_refused(root: Path) -> None:
    with pytest.raises(StoreError, match="names the host 'server'"):
        catalog.open_tables("file://server/share", root)


@pytest.mark.parametrize(
    "backends", [catalog.METADATA, catalog.TABLES, catalog.ONLINE, catalog.ARTIFACTS, catalog.PREDICTIONS]
)
def test_every_backend_in_the_tables_exists(backends: dict[str, str]) -> None:
    for place in backends.values():
        module, name = place.split(":")
        assert callable(getattr(import_module(module), name))


def test_importing_the_catalog_imports_no_backend() -> None:
    script = (
        "import sys, trimtab.stores.catalog; "
        "loaded = {'sqlalchemy', 'lmdb', 'deltalake', 'polars'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
