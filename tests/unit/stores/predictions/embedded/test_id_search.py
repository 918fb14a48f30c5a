"""Ids are found wherever they stand, without pyarrow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows


def test_an_id_that_is_part_of_others_is_told_apart(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["ab", "a", "abc"], error=[None, "about ab", None]))
    assert [row["error"] for row in log.find("a")] == ["about ab"]
    assert len(log.find("ab")) == 1
    assert log.find("b") == []
    log.close()


@pytest.mark.parametrize("read_bytes", [16, 64])
def test_an_id_across_two_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr("trimtab.stores.predictions.embedded.id_search.READ_BYTES", read_bytes)
    log = SegmentLog(tmp_path)
    for n in range(9):
        log.append(prediction_rows([f"{n:08}"]))
    found = [len(log.find(f"{n:08}")) for n in range(9)]
    log.close()
    assert found == [1] * 9


def test_the_newest_rows_of_an_id_are_found_in_all_its_segments(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path, segment_rows=1)
    for name, version in [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("a", 3), ("d", 1)]:
        log.append(prediction_rows([name], version=[version]))
    log.append_labels(label_rows(["a"], label=[0.0]))
    log.append_labels(label_rows(["b"]))
    log.append_labels(label_rows(["a"]))
    log.close()
    assert [row["version"] for row in log.find("a")] == [2, 3]
    assert [row["label"] for row in log.find_labels("a")] == [0.0, 1.0]


def test_finding_in_segments_loads_no_pyarrow(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    log.append(prediction_rows(["a", "b"]))
    log.close()
    program = f"""
import sys
from pathlib import Path
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
print(len(SegmentLog(Path({str(tmp_path)!r})).find("b")), "pyarrow" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("1 False", "")
