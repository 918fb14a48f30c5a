"""The journal of stages: what passed and what failed since the last ingest."""

from pathlib import Path

import pytest

from kit.task_projects import make_quantile
from trimtab.app.delivery.stage_journal import JOURNAL, entries_of_pipeline, noted
from trimtab.app.project.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_quantile(tmp_path / "project")


def test_a_stage_is_noted_with_its_error_and_the_error_goes_on(workspace: Workspace) -> None:
    with noted(workspace, "ingest"):
        pass
    with pytest.raises(ValueError, match="no rows"), noted(workspace, "train", "late"):
        raise ValueError("no rows")
    passed, failed = entries_of_pipeline(workspace.run_folder)
    assert (passed.stage, passed.model, passed.error) == ("ingest", None, "")
    assert (failed.stage, failed.model, failed.error) == ("train", "late", "no rows")


def test_an_error_without_words_is_told_by_its_type(workspace: Workspace) -> None:
    with pytest.raises(KeyboardInterrupt), noted(workspace, "train"):
        raise KeyboardInterrupt
    (entry,) = entries_of_pipeline(workspace.run_folder)
    assert entry.error == "KeyboardInterrupt"


def test_stages_before_the_last_ingest_are_of_an_earlier_pipeline(workspace: Workspace) -> None:
    for stage in ("ingest", "train", "deploy", "ingest", "train", "train"):
        with noted(workspace, stage):
            pass
    assert [entry.stage for entry in entries_of_pipeline(workspace.run_folder)] == ["ingest", "train"]


def test_a_damaged_line_is_left_out(workspace: Workspace) -> None:
    with noted(workspace, "ingest"):
        pass
    with (workspace.run_folder / JOURNAL).open("ab") as file:
        file.write(b'{"stage": "trai')
    assert [entry.stage for entry in entries_of_pipeline(workspace.run_folder)] == ["ingest"]
