"""Ids are found in the Delta tables by the row groups that may hold them, however long and strange they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.stores.predictions.embedded import delta_archive
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows


def tables(folder: Path, ids: list[str]) -> SegmentLog:
    """A log whose labels of some ids are in the table alone."""
    log = SegmentLog(folder)
    log.append_labels(label_rows(ids))
    log.close()
    log.compact(grace_s=-1e12, keep_s=3e9)
    assert not list(folder.glob("*.frames"))
    return log


def test_of_ids_that_rise_with_time_one_row_group_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_archive, "ROW_GROUP", 10)
    log, reads = tables(tmp_path, [f"id-{n:04}" for n in range(200)]), list[Any]()
    read = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, index: int, columns: list[str]) -> Any:
        reads.append((index, columns[0]))
        return read(self, index, columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    assert [row["prediction_id"] for row in log.find_labels("id-0123")] == ["id-0123"]
    assert reads == [(12, "prediction_id"), (12, "writer")]
    assert log.find_labels("id-9999") == []
    assert len(reads) == 2


@settings(max_examples=15)
@given(
    ids=st.lists(
        st.one_of(st.text(max_size=3), st.text("zé\U0010ffff", min_size=60, max_size=90), st.just("z" * 200)),
        min_size=1,
        max_size=25,
    )
)
def test_whatever_an_id_is_it_is_found(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(delta_archive, "ROW_GROUP", 10)
        log = tables(tmp_path_factory.mktemp("log"), ids)
        found = {id_: len(log.find_labels(id_)) for id_ in ids}
    assert found == {id_: ids.count(id_) for id_ in ids}
