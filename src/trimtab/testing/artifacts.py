"""The conformance suite of the artifact store."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trimtab.errors import Conflict, NotFound, StoreError
from trimtab.stores.artifacts.contract import Artifacts


def filled(store: Artifacts, text: str = "content") -> Path:
    """Return a staging folder with a file at the top and one below."""
    folder = store.staging()
    (folder / "model.txt").write_text(text)
    (folder / "inner").mkdir()
    (folder / "inner" / "more.txt").write_text(text)
    return folder


class ArtifactsConformance:
    """The tests of the artifact contract. Subclass it and define `open`.

    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.artifacts.folder import FolderArtifacts
    >>> class TestFolder(ArtifactsConformance):
    ...     def open(self, folder):
    ...         return FolderArtifacts(folder)
    >>> with TemporaryDirectory() as folder:
    ...     TestFolder().test_staging_folders_are_new_and_empty(TestFolder().open(Path(folder)))
    """

    def open(self, folder: Path) -> Artifacts:
        """Open the store of a folder. A second call reads what the first store wrote."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Artifacts:
        """A fresh store."""
        return self.open(tmp_path)

    def test_a_whole_store_has_no_faults(self, store: Artifacts) -> None:
        store.publish(filled(store), "bundles/delay/3")
        assert list(store.check()) == []

    def test_a_published_folder_comes_back_whole(self, store: Artifacts) -> None:
        assert store.publish(filled(store), "bundles/delay/3") == "bundles/delay/3"
        folder = store.open("bundles/delay/3")
        assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
            "inner",
            "inner/more.txt",
            "model.txt",
        ]
        assert (folder / "inner" / "more.txt").read_text() == "content"

    def test_nothing_is_there_before_it_is_published(self, store: Artifacts) -> None:
        filled(store)
        assert store.names() == []
        assert not store.exists("bundles/delay/3")
        store.publish(filled(store), "bundles/delay/3")
        assert store.exists("bundles/delay/3")
        assert not store.exists("bundles/delay")

    def test_a_missing_artifact_is_not_found_with_the_nearest_name(self, store: Artifacts) -> None:
        store.publish(filled(store), "bundles/delay/3")
        with pytest.raises(NotFound, match="Did you mean 'bundles/delay/3'"):
            store.open("bundles/delay/4")
        with pytest.raises(NotFound):
            store.open("bundles/delay")

    def test_publishing_again_keeps_the_first_and_discards_the_second(self, store: Artifacts) -> None:
        store.publish(filled(store, "first"), "bundles/delay/3")
        second = filled(store, "second")
        assert store.publish(second, "bundles/delay/3") == "bundles/delay/3"
        assert (store.open("bundles/delay/3") / "model.txt").read_text() == "first"
        assert not second.exists()

    def test_staging_folders_are_new_and_empty(self, store: Artifacts) -> None:
        first, second = store.staging(), store.staging()
        assert first != second
        assert list(first.iterdir()) == []

    def test_names_are_sorted_and_found_by_their_beginning(self, store: Artifacts) -> None:
        for name in ("runs/b", "bundles/delay/10", "bundles/delay/9", "single"):
            store.publish(filled(store), name)
        assert list(store.names()) == ["bundles/delay/10", "bundles/delay/9", "runs/b", "single"]
        assert list(store.names("bundles/")) == ["bundles/delay/10", "bundles/delay/9"]
        assert list(store.names("bundles/delay/1")) == ["bundles/delay/10"]
        assert list(store.names("nothing")) == []

    def test_no_artifact_lies_inside_another_one(self, store: Artifacts) -> None:
        store.publish(filled(store), "bundles/delay")
        with pytest.raises(Conflict, match="because 'bundles/delay' is"):
            store.publish(filled(store), "bundles/delay/3")
        with pytest.raises(Conflict, match="because 'bundles/delay' is"):
            store.publish(filled(store), "bundles")
        assert list(store.names()) == ["bundles/delay"]

    @pytest.mark.parametrize(
        "name", ["", "/a", "a/", "a//b", "..", "a/../b", "a/./b", ".staging/x", "a b", "a\\b", "ü"]
    )
    def test_a_name_that_is_no_name_is_refused(self, store: Artifacts, name: str) -> None:
        for verb in (store.open, store.exists, lambda n: store.publish(filled(store), n)):
            with pytest.raises(StoreError, match="no name for an artifact"):
                verb(name)

    def test_only_a_staging_folder_of_the_store_can_be_published(self, store: Artifacts, tmp_path: Path) -> None:
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        (stranger / "file").write_text("x")
        for folder in (stranger, filled(store) / "inner", tmp_path / "missing"):
            with pytest.raises(StoreError, match="no staging folder"):
                store.publish(folder, "a/b")
        assert not store.exists("a/b")

    def test_a_folder_without_a_file_is_refused(self, store: Artifacts) -> None:
        folder = store.staging()
        (folder / "inner").mkdir()
        with pytest.raises(StoreError, match="no file at its top"):
            store.publish(folder, "a/b")

    def test_another_store_of_the_folder_sees_the_same(self, store: Artifacts, tmp_path: Path) -> None:
        store.publish(filled(store), "a/b")
        other = self.open(tmp_path)
        assert other.exists("a/b")
        other.publish(filled(other, "other"), "a/c")
        assert list(store.names()) == ["a/b", "a/c"]

    def test_of_many_publishers_of_one_name_one_wins(self, store: Artifacts, tmp_path: Path) -> None:
        stores = [self.open(tmp_path) for _ in range(4)]
        folders = [filled(other, f"text {n}") for n, other in enumerate(stores)]
        threads = [
            threading.Thread(target=other.publish, args=(folder, "a/b"))
            for other, folder in zip(stores, folders, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        folder = store.open("a/b")
        assert (folder / "model.txt").read_text() == (folder / "inner" / "more.txt").read_text()
        assert not any(folder.exists() for folder in folders)
