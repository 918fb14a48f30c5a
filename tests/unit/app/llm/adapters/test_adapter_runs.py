"""Rows that train an adapter, and what keeps a training from its start. `make test-llm` trains."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kit.prompt_project import DEFINITIONS, write_prompt_project
from trimtab.app.llm.adapters.adapter_runs import hash_of, train_adapter
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages.ingesting import ingest
from trimtab.clock import ManualClock
from trimtab.errors import DataError, DefinitionError, StageError
from trimtab.llm.evaluate.items import ITEMS_FILE
from trimtab.records.llm import EvalSetVersion
from trimtab.records.training import Run

NOW = datetime(2026, 1, 10, tzinfo=UTC)
LORA = """
pairs = tt.FileSource("pairs", "data/pairs.jsonl", timestamp="at", known_at="known")
small = tt.LoRA("small", base="base", examples=pairs, prompt="ticket", answer="queue", steps=10)
"""
ROWS = [
    {
        "at": "2026-01-02T00:00:00Z",
        "known": "2026-01-02T00:00:00Z",
        "ticket": "the parcel is late",
        "queue": "delivery",
    },
    {"at": "2026-01-01T00:00:00Z", "known": "2026-01-01T00:00:00Z", "ticket": "charged twice", "queue": "billing"},
    {"at": "2026-01-03T00:00:00Z", "known": "2026-01-20T00:00:00Z", "ticket": "not known yet", "queue": "billing"},
]
PYTHON = Path(sys.executable)
"""It has no torch, so that a training ends where it would begin."""


def project(folder: Path, rows: list[dict[str, str]], *, base: bool = True) -> Workspace:
    """Make a project with a LoRA."""
    write_prompt_project(folder, definitions=DEFINITIONS + LORA)
    (folder / "data").mkdir()
    (folder / "data" / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if base:
        (folder / "base").mkdir()
        (folder / "base" / "config.json").write_text("{}")
    return open_workspace(folder, clock=ManualClock(NOW))


def test_rows_that_are_known_now_are_kept_in_order_of_time(tmp_path: Path) -> None:
    """They are the dataset of the run; without torch there is no run."""
    workspace = project(tmp_path, ROWS)
    ingest(workspace)
    with pytest.raises(StageError, match="LoRA 'small': the training failed: torch cannot be imported"):
        train_adapter(workspace, "small", python=PYTHON)
    (dataset,) = workspace.metadata.find(EvalSetVersion, name="pairs")
    lines = (workspace.artifacts.open(dataset.path) / ITEMS_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"prompt": "charged twice", "answer": "billing"},
        {"prompt": "the parcel is late", "answer": "delivery"},
    ]
    assert workspace.metadata.find(Run) == []


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """The LoRA, its base, its rows, and texts in them."""
    with pytest.raises(DefinitionError, match=r"no tt.LoRA 'smal'. Did you mean 'small'\?"):
        train_adapter(project(tmp_path / "a", ROWS), "smal", python=PYTHON)
    with pytest.raises(DefinitionError, match=r"LoRA 'small': base is 'base', and .*config.json is missing"):
        train_adapter(project(tmp_path / "b", ROWS, base=False), "small", python=PYTHON)
    workspace = project(tmp_path / "c", [ROWS[0], {**ROWS[1], "queue": ""}])
    with pytest.raises(StageError, match="source 'pairs' was not ingested yet; run: trimtab ingest"):
        train_adapter(workspace, "small", python=PYTHON)
    ingest(workspace)
    with pytest.raises(DataError, match="1 rows of source 'pairs' have no 'queue'"):
        train_adapter(workspace, "small", python=PYTHON)


def test_hash_covers_weights_and_settings(tmp_path: Path) -> None:
    """Notes beside them change nothing."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = hash_of(tmp_path)
    (tmp_path / "README.md").write_text("a note")
    assert hash_of(tmp_path) == found
    (tmp_path / "tokenizer.json").write_text("{}")
    assert hash_of(tmp_path) != found
