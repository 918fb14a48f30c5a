"""Backtests in words: results, those at work, those that failed; and who may start one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kit.consoles import make_project
from trimtab.app.backtest.kept_results import keep_result
from trimtab.app.backtest.policy_run import PolicyRun, Retrained
from trimtab.app.backtest.policy_table import PolicyTable, make_table
from trimtab.app.operations import backtest_orders
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.backtest_orders import (
    PROGRESS,
    BacktestOrder,
    kept_folder,
    read_order,
    start_backtest,
    write_order,
)
from trimtab.app.overviews.backtest_overview import backtest_overview
from trimtab.app.project.process_files import own_pid
from trimtab.app.project.workspace import Workspace
from trimtab.errors import Conflict, DefinitionError, Forbidden, NotFound, UsageError
from trimtab.policy.model import Prices
from trimtab.testing.judged import FIRST
from trimtab.units import MICROS

DEVELOPER = Actor(name="dev", role="developer")
WINDOWS = 40


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = make_project(tmp_path)
    yield opened
    opened.metadata.close()


def run_of(name: str, lost: Sequence[float], *, trained: int = 0, money: bool = True, reviews: int = 0) -> PolicyRun:
    day = MICROS["d"]
    made = [Retrained(asked_at=day, began_at=day, trigger=name, reason="", version=n + 2) for n in range(trained)]
    return PolicyRun(
        name=name, task="binary", starts=[n * day for n in range(len(lost))], rows=[10] * len(lost), losses=list(lost),
        money=list(lost) if money else None, windows=len(lost), retrained=made, changes=[],
        decisions={"review": reviews},
    )  # fmt: skip


def table_of(*runs: PolicyRun) -> PolicyTable:
    return make_table(runs, model="risk", currency="EUR", prices=Prices())


def order_of(id_: str = "20260301-000000-aa", **more: object) -> BacktestOrder:
    return BacktestOrder(id=id_, model="risk", created_at=FIRST, by="ann", **more)  # type: ignore[arg-type]  # its fields


def test_a_result_says_in_money_what_the_policy_would_have_done(workspace: Workspace) -> None:
    never = run_of("never", [100.0] * WINDOWS)
    own = run_of("policy", [60.0] * WINDOWS, trained=3, reviews=5)
    best = run_of("every:7d", [50.0] * WINDOWS, trained=8)
    keep_result(workspace, table_of(never, own, best), order_of())
    found = backtest_overview(workspace, "risk")
    assert found.sentence == (
        "This policy would have saved 1,600 EUR (1,600 to 1,600) over never retraining, with 3 trainings and 5 "
        "reviews; the best in hindsight, every:7d, 2,000 EUR."
    )
    rows = {row.name: row for row in found.policies}
    assert (rows["policy"].saved, rows["policy"].trainings, rows["policy"].is_best) == ("+1,600 EUR", 3, False)
    assert rows["policy"].worst_windows == "+1,200 EUR", "30 windows of 40 EUR"
    assert rows["every:7d"].is_best


def test_what_is_not_sure_or_worse_is_said(workspace: Workspace) -> None:
    swings = [200.0 if n % 20 < 10 else 0.0 for n in range(WINDOWS)]
    keep_result(workspace, table_of(run_of("never", [99.0] * WINDOWS), run_of("matrix", swings)), order_of())
    sentence = backtest_overview(workspace, "risk").sentence
    assert sentence.startswith("This policy would have lost 40.00 EUR (")
    assert "against never retraining" in sentence
    assert "the interval holds 0, so it is not sure" in sentence


def test_without_money_it_is_loss_a_row(workspace: Workspace) -> None:
    runs = run_of("never", [5.0] * WINDOWS, money=False), run_of("every:7d", [4.0] * WINDOWS, money=False, trained=1)
    keep_result(workspace, table_of(*runs), order_of())
    assert (
        "The policy every:7d would have saved 0.100 log-loss a row (" in backtest_overview(workspace, "risk").sentence
    )


def test_progress_and_failure_are_read_from_what_the_process_says(workspace: Workspace) -> None:
    write_order(workspace, order_of(pid=own_pid()))
    path = kept_folder(workspace, order_of().id) / PROGRESS
    path.write_text("1 of 6: never\n2 of 6: every:28d\n")
    running = backtest_overview(workspace, "risk")
    assert running.shown is not None
    assert (running.shown.state, running.shown.done, running.shown.of) == ("running", 2, 6)
    assert running.sentence == "The backtest runs: 2 of 6 policies are done; it changes nothing that serves."
    write_order(workspace, order_of(pid=0))
    path.write_text("1 of 6: never\n14 windows have labels\n")
    assert backtest_overview(workspace, "risk").sentence == "The backtest failed: 14 windows have labels."


def test_without_a_backtest_the_command_and_what_is_missing_are_named(workspace: Workspace) -> None:
    found = backtest_overview(workspace, "risk")
    assert "it needs 14 windows with labels, the log has 0" in found.sentence
    assert found.sentence.endswith("they come with: trimtab up.")
    for id_ in ("nothing", "../../metadata.db", ""):
        with pytest.raises(NotFound, match="no backtest"):
            backtest_overview(workspace, "risk", id_)
    with pytest.raises(DefinitionError):
        backtest_overview(workspace, "other")


def test_starting_one_asks_for_a_role_a_reason_and_one_at_a_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"  # stands for the interpreter: the command is what is tested here
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\nprint(*sys.argv[1:], file=sys.stderr, flush=True)\ntime.sleep(600)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    options: dict[str, Any] = {"environment": "local", "reason": "to compare calendars"}
    with pytest.raises(Forbidden, match="needs the role developer on risk"):
        start_backtest(workspace, Actor(name="v", role="viewer"), "risk", **options)
    with pytest.raises(UsageError, match="needs a reason"):
        start_backtest(workspace, DEVELOPER, "risk", environment="local", reason=" ")
    asked = {**options, "policies": ["never"], "vary": ["decide.cooldown=7d"], "key": "k"}
    first = start_backtest(workspace, DEVELOPER, "risk", **asked)
    assert list(first.arguments()) == [
        "backtest", "risk", "--id", first.id, "--policy", "never", "--vary", "decide.cooldown=7d",
    ]  # fmt: skip
    assert start_backtest(workspace, DEVELOPER, "risk", **asked) == first
    with pytest.raises(Conflict, match=f"{first.id} of risk is at work"):
        start_backtest(workspace, DEVELOPER, "risk", **options)
    for actor, changed in ((DEVELOPER, {"vary": ["decide.cooldown=9d"]}), (Actor(name="ann", role="admin"), {})):
        with pytest.raises(UsageError, match="key 'k' was used for another request, by dev: to compare calendars"):
            start_backtest(workspace, actor, "risk", **{**asked, **changed})
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert msgspec.structs.replace(read_order(workspace, first.id), pid=0).by == "dev"
    second = start_backtest(workspace, DEVELOPER, "risk", **options)
    os.kill(second.pid, signal.SIGKILL)
    os.waitpid(second.pid, 0)


def test_a_key_is_of_one_model_and_orders_of_another_stay_unnamed(workspace: Workspace) -> None:
    other = msgspec.structs.replace(order_of(key="k", pid=own_pid(), reason="of others"), model="secret")
    write_order(workspace, other)  # at work: its process is this one
    limited = Actor(name="dev", role="developer", models=("risk",))
    with pytest.raises(Conflict, match=r"^a backtest of another model is at work; wait for it$"):
        start_backtest(workspace, limited, "risk", environment="local", reason="of others", key="k")


def test_two_requests_at_once_start_one_backtest(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[BacktestOrder]()

    def start(workspace: Workspace, order: BacktestOrder, environment: str) -> BacktestOrder:
        time.sleep(0.1)
        started.append(order)
        order = msgspec.structs.replace(order, pid=own_pid())
        write_order(workspace, order)
        return order

    monkeypatch.setattr(backtest_orders, "_start", start)
    options: dict[str, Any] = {"environment": "local", "reason": "to compare calendars", "key": "k"}
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(start_backtest, workspace, DEVELOPER, "risk", **options) for _ in range(4)]
    found = {each.result().id for each in waits}
    assert len(started) == len(found) == 1
