"""Whatever happens to a log, each acknowledged row is read once, in the order of its writer, by whatever cursor."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trimtab.clock import ManualClock, from_micros
from trimtab.stores.predictions.contract import START, Cursor
from trimtab.stores.predictions.embedded import delta_archive, log_compaction
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.frames import END
from trimtab.stores.predictions.embedded.segment_folder import segments
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import prediction_rows

WRITERS = "ab"
BEGINNING = 1_700_000_000_000_000
KEPT_S = 3e9


class Killed(BaseException):
    """Ends a compaction where a SIGKILL would."""


class LogLife(RuleBasedStateMachine):
    """Writers append, are killed in the middle of a write, and come back; compactions too."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.folder = Path(self.temporary.name) / "log"
        self.clock = ManualClock(from_micros(BEGINNING))
        self.writers = {name: self.opened(name) for name in WRITERS}
        self.reader = self.opened("0")
        self.written: dict[str, list[str]] = {name: [] for name in WRITERS}
        self.read: dict[str, list[str]] = {name: [] for name in WRITERS}
        self.cursor = START
        self.count = 0
        self.most_files, delta_archive.MOST_FILES = delta_archive.MOST_FILES, 1

    def opened(self, name: str) -> SegmentLog:
        return SegmentLog(self.folder, name, segment_rows=4, segment_age_s=100, clock=self.clock)

    @rule(name=st.sampled_from(WRITERS), rows=st.integers(1, 3), model=st.sampled_from(["m", "n"]))
    def append(self, name: str, rows: int, model: str) -> None:
        ids = [f"{name}{self.count}.{row}" for row in range(rows)]
        self.count += 1
        moment = BEGINNING + self.count // 3
        self.writers[name].append(prediction_rows(ids, logged_at=[moment] * rows, model=[model] * rows))
        self.written[name] += ids

    @rule(name=st.sampled_from(WRITERS), cut=st.floats(0, 1, exclude_max=True))
    def kill(self, name: str, cut: float) -> None:
        """Die within a write: its first bytes are in the file, whatever their number."""
        own = [segment for segment in segments(self.folder, "predictions") if segment.writer == name]
        log = self.writers[name]
        before = own[-1].path.stat().st_size if own else 0
        log.append(prediction_rows(["never acknowledged"]))
        last = [segment for segment in segments(self.folder, "predictions") if segment.writer == name][-1].path
        start = before if own and own[-1].path == last else 0
        data = last.read_bytes()
        cut_at = start + int(cut * (len(data) - start - len(END)))  # inside the row, also before an END
        last.write_bytes(data[:cut_at])
        log._lock.release()  # the system does it for a process that dies
        self.writers[name] = self.opened(name)

    @rule(name=st.sampled_from(WRITERS))
    def stop(self, name: str) -> None:
        self.writers[name].close()

    @rule(seconds=st.sampled_from([1, 60, 200, 90_000]))
    def wait(self, seconds: int) -> None:
        self.clock.sleep(seconds)
        for log in self.writers.values():
            log.sync()

    @rule(keep_files=st.booleans())
    def compact(self, keep_files: bool) -> None:
        self.reader.compact(grace_s=1e12 if keep_files else -1e12, keep_s=KEPT_S)

    @rule(step=st.sampled_from(["append", "say", "unlink"]), call=st.integers(1, 3), after=st.booleans())
    def compact_and_die(self, step: str, call: int, after: bool) -> None:
        owner: Any = {"append": Archive, "say": log_compaction, "unlink": Path}[step]
        name = {"append": "append", "say": "_note_removed", "unlink": "unlink"}[step]
        real, calls = getattr(owner, name), 0

        def dying(*args: Any) -> None:
            nonlocal calls
            calls += 1
            if after or calls != call:
                real(*args)
            if calls == call:
                raise Killed

        setattr(owner, name, dying)
        try:
            self.reader.compact(grace_s=-1e12, keep_s=KEPT_S)
        except Killed:
            pass
        finally:
            setattr(owner, name, real)

    @rule(limit=st.none() | st.integers(1, 5), same=st.booleans())
    def go_on_reading(self, limit: int | None, same: bool) -> None:
        reader = self.reader if same else self.opened("0")
        table, self.cursor = reader.read(self.cursor, limit=limit)
        self.sort_out(table["prediction_id"].to_pylist(), self.read)

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        wanted = data.draw(st.sampled_from([id_ for ids in self.written.values() for id_ in ids]))
        assert [row["prediction_id"] for row in self.reader.find(wanted)] == [wanted]

    @invariant()
    def every_row_is_read_once_in_order(self) -> None:
        found: dict[str, list[str]] = {name: [] for name in WRITERS}
        self.sort_out(self.reader.read()[0]["prediction_id"].to_pylist(), found)
        assert found == self.written
        for name in WRITERS:
            assert self.read[name] == self.written[name][: len(self.read[name])]

    def sort_out(self, ids: list[str], into: dict[str, list[str]]) -> None:
        for id_ in ids:
            into[id_[0]].append(id_)

    def teardown(self) -> None:
        delta_archive.MOST_FILES = self.most_files
        cursor: Cursor = self.cursor
        table, _ = self.reader.read(cursor)
        self.sort_out(table["prediction_id"].to_pylist(), self.read)
        for log in self.writers.values():
            log.close()
        self.temporary.cleanup()
        assert self.read == self.written


TestLogLife = LogLife.TestCase
TestLogLife.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
