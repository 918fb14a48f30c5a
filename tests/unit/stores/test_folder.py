"""The folder of artifacts: the contract, and what becomes of staging folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.artifacts.folder import STAGING, FolderArtifacts
from trimtab.testing import ArtifactsConformance
from trimtab.testing.artifacts import filled

STAGER = """
import os, signal, sys
from pathlib import Path
from trimtab.stores.artifacts.folder import FolderArtifacts

folder = FolderArtifacts(Path(sys.argv[1])).staging()
(folder / "half").write_text("half")
print(folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class TestFolder(ArtifactsConformance):
    def open(self, folder: Path) -> Artifacts:
        return FolderArtifacts(folder / "artifacts")


def test_left_overs_of_a_killed_process_are_removed_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    # given a staging folder of a living store, and one of a process that was killed
    living = FolderArtifacts(tmp_path)
    mine = filled(living)
    killed = subprocess.run([sys.executable, "-c", STAGER, str(tmp_path)], capture_output=True, text=True, check=False)
    theirs = Path(killed.stdout.strip())
    assert (theirs / "half").exists()
    # when the store is opened again
    other = FolderArtifacts(tmp_path)
    # then
    assert not theirs.exists()
    assert (mine / "model.txt").exists()
    living.publish(mine, "a/b")
    assert other.exists("a/b")


def test_an_area_that_died_before_its_lock_was_made_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / STAGING / "stale"
    stale.mkdir(parents=True)
    FolderArtifacts(tmp_path)
    assert not stale.exists()


def test_names_are_plain_folders(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    store.publish(filled(store), "bundles/delay/3")
    assert (tmp_path / "bundles" / "delay" / "3" / "model.txt").read_text() == "content"
    (tmp_path / "bundles" / "fraud").mkdir()
    assert store.names() == ["bundles/delay/3"]
    store.publish(filled(store), "bundles/fraud")
    assert store.names() == ["bundles/delay/3", "bundles/fraud"]
