"""What happened before a decision, from the records of a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trimtab.control.history import ControlEvents, ControlHistory, gather_history
from trimtab.records.serving import Assignment
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import FIRST, MODEL, champion_revision


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    """A store in which version 2 took the place of version 1, and was rolled back."""
    store = SqlMetadata(tmp_path / "metadata.db")
    for revision in (champion_revision(1, 1), champion_revision(2, 2), champion_revision(3, 1, action="rollback")):
        store.put(revision)
    yield store
    store.close()


def history(book: Metadata) -> ControlHistory:
    return gather_history(ControlEvents(book, MODEL), time=FIRST, running=False)


def test_a_champion_that_a_rollback_restored_stays_restored_while_others_challenge_it(book: Metadata) -> None:
    assert (history(book).champion, history(book).previous, history(book).restored) == (1, 2, True)
    # when another version challenges it
    challenger = Assignment(role="challenger", bundle=f"{MODEL}/3", version=3, weight=10.0)
    alone = champion_revision(4, 1)
    book.put(msgspec.structs.replace(alone, action="challenge", assignments=(*alone.assignments, challenger)))
    assert history(book).restored
    # until that one takes its place
    book.put(champion_revision(5, 3, action="promote"))
    assert (history(book).champion, history(book).restored) == (3, False)
