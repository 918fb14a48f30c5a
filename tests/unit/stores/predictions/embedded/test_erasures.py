"""Text that was erased or is too old is on no disk any more, and the numbers of its turns are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from trimtab.clock import ManualClock, to_micros
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import content_rows, turn_rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY_S = 86_400.0


def files_with(folder: Path, text: bytes) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes())


def written(folder: Path, clock: ManualClock) -> SegmentLog:
    log = SegmentLog(folder, segment_rows=2, clock=clock)
    for name, user in [("a", "u1"), ("b", "u2"), ("c", "u1"), ("d", "u2"), ("e", "u1")]:
        at = [to_micros(clock.now())]
        log.append_turns(turn_rows([name], at=at))
        # text that compression leaves as it is
        log.append_contents(content_rows([name], at=at, text=[f"canary-{user}"], user=[user]))
    return log


def test_compaction_deletes_the_bytes_of_erased_text(tmp_path: Path) -> None:
    log = written(tmp_path, clock := ManualClock(NOW))
    log.compact(grace_s=600.0, keep_s=400 * DAY_S)  # into the table, and the files stay for ten minutes
    assert log.erase_contents("user", "u1") == 3
    clock.sleep(7200)
    log.close()
    assert files_with(tmp_path, b"canary-u1")
    log.compact(grace_s=-1e9, keep_s=400 * DAY_S)
    assert files_with(tmp_path, b"canary-u1") == files_with(tmp_path, b"erased-") == []
    assert [row["text"] for row in log.read_contents()[0].to_pylist()] == ["canary-u2"] * 2
    assert log.read_turns()[0].num_rows == 5
    assert not list(tmp_path.glob("erased-*"))  # no file can have such a row


def test_an_erasure_holds_while_a_segment_is_still_written(tmp_path: Path) -> None:
    log = written(tmp_path, ManualClock(NOW))  # its last segment is open
    assert log.erase_contents("prediction_id", "e") == 1
    log.compact(grace_s=-1e9, keep_s=400 * DAY_S)
    assert list(tmp_path.glob("erased-*"))
    assert log.find_contents("e") == []
    log.close()


def test_text_is_kept_for_a_time_of_its_own(tmp_path: Path) -> None:
    log = written(tmp_path, clock := ManualClock(NOW))
    log.close()
    clock.sleep(31 * DAY_S)
    done = log.compact(grace_s=-1e9, keep_s=400 * DAY_S, contents_s=30 * DAY_S)
    assert done.rows_dropped == 5
    assert files_with(tmp_path, b"canary") == []
    assert (log.count().turns, log.count().contents) == (5, 0)


def test_damaged_text_is_not_set_aside(tmp_path: Path) -> None:
    log = written(tmp_path, ManualClock(NOW))
    log.close()
    path = tmp_path / "contents-0-000001.frames"
    data = bytearray(path.read_bytes())
    data[data.index(b"canary-u1")] ^= 1
    path.write_bytes(data)
    log.compact(grace_s=-1e9, keep_s=400 * DAY_S)
    assert not [each.name for each in tmp_path.iterdir() if each.name.startswith("contents-0")]
