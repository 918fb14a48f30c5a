"""A project whose records an earlier release wrote: it opens, its chains hold, pages say what is not known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from kit.migrations import BACK_TO_0008
from trimtab.app.backtest.memory_metadata import MemoryMetadata
from trimtab.app.overviews.decision_detail import decision_detail
from trimtab.app.overviews.decision_overview import decision_overview
from trimtab.app.overviews.loop_overview import loop_overview
from trimtab.app.overviews.model_overview import model_overview
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.decision_list import DecisionFilter
from trimtab.control.controller import Controller
from trimtab.control.ledger import GENESIS, digest, verify_chain
from trimtab.control.resolve import resolve
from trimtab.records.control import Decision, Resolution
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.version import VERSION_TABLE
from trimtab.testing.judged import (
    MODEL,
    RecordingActions,
    bundle_record,
    champion_revision,
    judged_signals,
    window_report,
)

IMPACT = {"cost": {"false_negative": 40}, "medium": "500/day", "high": "1500/day", "over": "1d"}
LATER_FIELDS = {
    "decision": ("held_by", "held_until"),
    "resolution": ("as_of",),
    "revision": ("as_of",),
    "bundle": ("usual",),
}


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Workspace]:
    """Decisions 1 to 3: monitor; a review, rejected; held back by the open review. From before there was a ledger."""
    made = GatewayProject(tmp_path / "project", impact=IMPACT)
    ws, memory = made.workspace, MemoryMetadata()
    for day, (p_seq, money) in enumerate(((1.0, 0.0), (0.001, 700.0), (0.001, 700.0))):
        window = window_report(day, metrics={"log_loss": 0.4, "money_lost": 100.0})
        for store in (ws.metadata, memory):
            store.put(window, *judged_signals(window, data_p_seq=p_seq, money_per_day=money))
    ws.metadata.put(bundle_record(1), champion_revision(1, version=1))
    Controller(memory, ws.project.policy.for_task("binary"), MODEL, RecordingActions(), ws.clock).step()
    previous = GENESIS
    for one in memory.find(Decision, oldest_first=True):
        plain = msgspec.structs.replace(one, held_by=None, held_until=None, previous_hash=previous, hash="")
        written = msgspec.structs.replace(plain, hash=digest(plain))
        ws.metadata.put(written)
        previous = written.hash
    resolve(ws.metadata, f"{MODEL}/decision/2", "reject", "a holiday", "ann", ws.clock)
    ws.metadata.close()
    with closing(sqlite3.connect(ws.root / "metadata.db")) as connection, connection:
        for kind, fields in LATER_FIELDS.items():
            names = ", ".join(f"'$.{field}'" for field in fields)
            connection.execute(f"UPDATE trimtab_{kind} SET body = json_remove(body, {names})")
        for statement in BACK_TO_0008:
            connection.execute(statement)
        for table in ("ledger_entry", "policy_version", "ledger_acceptance"):
            connection.execute(f"DROP TABLE trimtab_{table}")
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0004'")
    (ws.root / "ledger.head").unlink(missing_ok=True)
    opened = open_workspace(made.folder)
    yield opened
    opened.metadata.close()


def test_the_records_open_and_their_chains_hold(older: Workspace) -> None:
    metadata = older.metadata
    assert list(metadata.check()) == []
    assert metadata.verify().breaks == ()
    decisions = metadata.find(Decision, oldest_first=True)
    verify_chain(decisions)
    assert {(d.held_by, d.held_until) for d in decisions} == {(None, None)}
    assert metadata.count(Decision, band="severe", impact="medium", cell="review") == 2
    assert metadata.find(Resolution)[0].as_of is None
    assert metadata.find(Revision)[0].as_of is None
    assert metadata.find(Bundle)[0].usual == {}


def test_the_pages_say_what_is_not_known(older: Workspace) -> None:
    decisions = decision_overview(older, DecisionFilter())
    assert [row.held_by for row in decisions.rows] == ["not known", "", ""]
    assert decision_detail(older, MODEL, 3).row.held_by == "not known"
    page = model_overview(older, MODEL)
    assert [(w.loss, w.loss_low, w.loss_high) for w in page.windows] == [(0.4, None, None)] * 3
    assert page.usual == ()
    assert loop_overview(older).project == "p"
