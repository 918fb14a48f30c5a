"""What a replay does around its traffic: reviews that it approves, warnings, and the loop that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.project.locks import REPLAY, Locked, locked
from trimtab.app.project.process_files import PROGRESS, Progress, own_pid
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.replay import session
from trimtab.app.replay.replay import Replay
from trimtab.app.replay.session import (
    ReplayOptions,
    approve_reviews,
    run_replay,
    running_loop,
    warnings_of_others,
    warnings_of_training,
)
from trimtab.clock import ManualClock, to_micros
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.ledger import Ledger
from trimtab.errors import StageError, StoreError
from trimtab.records.control import Resolution
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.judged import window_report
from trimtab.testing.predictions import prediction_rows

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = open_workspace(GatewayProject(tmp_path / "project").folder, clock=ManualClock(NOW))
    yield opened
    opened.metadata.close()


def review(workspace: Workspace, day: int, *, cell: str = "retrain") -> str:
    """Write a review of a window; return its id. A cell `monitor` asks a person to look, and proposes nothing."""
    draft = Draft(
        cause=Cause(window=window_report(day), signals=()),
        band="severe",
        impact_per_day=0.0,
        impact="high",
        cell=cell,  # type: ignore[arg-type]  # a Literal
        action="review",
        reasons=("a test",),
    )
    decision = Ledger(workspace.metadata, "delay").append(draft, clock=workspace.clock)
    assert decision is not None
    return decision.id


def announce(workspace: Workspace) -> Announcement:
    """Announce a gateway, as one that runs does; the process is that of the test."""
    found = Announcement("127.0.0.1", 18080, own_pid())
    (workspace.run_folder / ANNOUNCEMENT).write_bytes(msgspec.json.encode(found))
    return found


def test_reviews_that_propose_a_retraining_are_approved_once(workspace: Workspace) -> None:
    proposals = [review(workspace, day) for day in (1, 2)]
    note = review(workspace, 3, cell="monitor")
    assert approve_reviews(workspace, "delay") == 2
    assert approve_reviews(workspace, "delay") == 0
    found = workspace.metadata.find(Resolution, oldest_first=True)
    assert [(each.decision, each.verdict, each.by) for each in found] == [(p, "approve", "replay") for p in proposals]
    assert note not in {each.decision for each in found}


def test_predictions_that_no_replay_sent_are_told_with_what_follows(workspace: Workspace) -> None:
    assert list(warnings_of_others(workspace, "delay", NOW)) == []
    at = to_micros(NOW)
    log = SegmentLog(workspace.root / "predictions")
    log.append(prediction_rows(["flights-1", "mine", "other"], event_time=[at] * 3, logged_at=[at] * 3))
    log.close()
    # given predictions as late as the first row of the replay, only the comparison leaves them out
    (text,) = warnings_of_others(workspace, "delay", NOW)
    assert text.startswith("the log holds 2 predictions of model 'delay' that no replay sent")
    # and later ones close windows before the replay comes to them
    assert "come too late" in list(warnings_of_others(workspace, "delay", NOW - timedelta(days=1)))[1]


def test_a_version_that_was_trained_on_replayed_rows_is_told() -> None:
    class Played(Replay):
        def __init__(self) -> None:
            """Nothing is loaded."""

        def trained_on(self) -> list[tuple[int, datetime]]:
            return [(3, NOW)]

    (text,) = warnings_of_training(Played(), NOW - timedelta(days=9))
    assert text.startswith("version 3 was trained on rows up to 2026-03-01 00:00 UTC")
    assert text.endswith("trimtab run --as-of 2026-02-20T00:00:00Z")


def test_a_loop_that_runs_is_used(workspace: Workspace) -> None:
    found = announce(workspace)
    progress = Progress(pid=own_pid(), watermark=0, rows=0, labels=0, busy=False)
    (workspace.run_folder / PROGRESS).write_bytes(msgspec.json.encode(progress))
    with running_loop(workspace, "local", start=True) as used:
        assert used == found
    assert not (workspace.run_folder / "up.log").exists()


def test_a_gateway_is_enough_when_no_loop_is_to_be_started(workspace: Workspace) -> None:
    found = announce(workspace)
    with running_loop(workspace, "local", start=False) as used:
        assert used == found


def test_nothing_is_started_unless_asked_for(workspace: Workspace) -> None:
    with pytest.raises(StageError, match="no gateway runs"), running_loop(workspace, "local", start=False):
        pass


def test_a_loop_that_does_not_start_says_why(workspace: Workspace) -> None:
    with (
        pytest.raises(StoreError, match=r"(?s)the loop did not start.*environment.*'moon'"),
        running_loop(workspace, "moon", start=True),
    ):
        pass


def test_two_replays_are_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Replay", lambda *_, **__: None)
    options = ReplayOptions(environment="local", start=NOW, end=NOW + timedelta(days=1))
    with (
        locked(workspace, REPLAY, "trimtab replay", why="a test"),
        pytest.raises(Locked, match=r"trimtab replay .* is already running"),
    ):
        run_replay(
            workspace,
            workspace.model("delay"),
            options,
            stopping=lambda: False,
            warn=lambda _: None,
            view=lambda _: pytest.fail("it never starts"),
        )
