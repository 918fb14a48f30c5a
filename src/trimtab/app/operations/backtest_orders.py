"""Backtests that people ask for in the console: each runs in a process of its own, and its result is kept.

A backtest reads the past and writes below its own folder alone. It never changes what serves.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import psutil

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.rollout_orders import used_key
from trimtab.app.project.process_files import is_running, write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.errors import Conflict, NotFound, UsageError

KEPT = Path("backtest", "kept")
"""Below the root of the project's stores: a folder a backtest."""
LOCK = "backtest.lock"
"""In the run folder; held while a backtest is started, so that two requests at once start one."""
ORDER, PROGRESS, RESULT = "order.json", "progress.txt", "result.json"
NICENESS = 10
"""The process gives way to what serves."""
ID_BYTES = 4


class BacktestOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a backtest was asked for. pid: of its process; 0 for one that a command ran itself."""

    id: str
    model: str
    created_at: datetime
    by: str
    reason: str = ""
    policies: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    log: bool = False
    label_delay: str | None = None
    pid: int = 0
    key: str = ""
    """Idempotency key."""

    def arguments(self) -> Iterator[str]:
        """Yield the arguments of the command that runs it."""
        yield from ("backtest", self.model, "--id", self.id)
        for policy in self.policies:
            yield from ("--policy", policy)
        for vary in self.vary:
            yield from ("--vary", vary)
        for option, value in (("--from", self.start), ("--to", self.end), ("--label-delay", self.label_delay)):
            if value:
                yield from (option, value)
        if self.log:
            yield "--log"


def kept_folder(workspace: Workspace, id_: str) -> Path:
    """Return the folder of a backtest. Raises NotFound for an id that could name another folder."""
    if not id_ or not id_.replace("-", "").isalnum():
        raise NotFound(f"there is no backtest '{id_}'")
    return workspace.root / KEPT / id_


def new_id(at: datetime) -> str:
    """Return an id that sorts by time."""
    return f"{at:%Y%m%d-%H%M%S}-{secrets.token_hex(ID_BYTES)}"


def write_order(workspace: Workspace, order: BacktestOrder) -> None:
    """Keep an order, in place of one with the same id."""
    folder = kept_folder(workspace, order.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ORDER, msgspec.json.encode(order))


def read_order(workspace: Workspace, id_: str) -> BacktestOrder:
    """Return an order. Raises NotFound."""
    try:
        return msgspec.json.decode((kept_folder(workspace, id_) / ORDER).read_bytes(), type=BacktestOrder)
    except (OSError, msgspec.DecodeError):
        raise NotFound(f"there is no backtest '{id_}'") from None


def order_ids(workspace: Workspace) -> list[str]:
    """Return the ids of all backtests, newest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted((path.name for path in (workspace.root / KEPT).iterdir()), reverse=True)
    return []


def is_at_work(workspace: Workspace, order: BacktestOrder) -> bool:
    """Return True if the process of a backtest runs, and its result is not there yet."""
    return order.pid > 0 and not (kept_folder(workspace, order.id) / RESULT).exists() and is_running(order.pid)


def start_backtest(
    workspace: Workspace,
    actor: Actor,
    model: str,
    *,
    environment: str,
    reason: str,
    policies: Sequence[str] = (),
    vary: Sequence[str] = (),
    start: str | None = None,
    end: str | None = None,
    log: bool = False,
    label_delay: str | None = None,
    key: str | None = None,
) -> BacktestOrder:
    """Start a backtest in a process of its own; return at once.

    Args:
        workspace: an open project.
        actor: who asks.
        model: name of the model.
        environment: of the policy.
        reason: why; it is kept with the result.
        policies, vary, start, end, log, label_delay: as the options of `trimtab backtest`.
        key: idempotency key; the same request again returns the first order.

    Raises:
        Forbidden: below developer.
        DefinitionError: an unknown model.
        UsageError: no reason is given, or the key was used for another request.
        Conflict: another backtest of the project is at work.
    """
    name = workspace.model(model).name
    actor.require("developer", name)
    if not reason.strip():
        raise UsageError("a backtest needs a reason; it is kept with the result")
    now = workspace.now()
    order = BacktestOrder(
        id=new_id(now), key=key or "", model=name, created_at=now, by=actor.name, reason=reason.strip(),
        policies=tuple(policies), vary=tuple(vary), start=start or None, end=end or None, log=log,
        label_delay=label_delay or None,
    )  # fmt: skip
    with (workspace.run_folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _first(workspace, actor, order) or _start(workspace, order, environment)


def _first(workspace: Workspace, actor: Actor, asked: BacktestOrder) -> BacktestOrder | None:
    """Return the order that the same request made before, or None. Raises UsageError and Conflict."""
    orders = []
    for known in order_ids(workspace):
        with contextlib.suppress(NotFound):
            orders.append(read_order(workspace, known))
    for order in orders:
        if asked.key and (order.key, order.model) == (asked.key, asked.model):
            same = msgspec.structs.replace(asked, id=order.id, created_at=order.created_at, pid=order.pid)
            if same != order:
                raise used_key(order.key, order.by, order.reason)
            return order
    for order in orders:
        if is_at_work(workspace, order):
            if not actor.may("viewer", order.model):
                raise Conflict("a backtest of another model is at work; wait for it")
            raise Conflict(
                f"the backtest {order.id} of {order.model} is at work; wait for it, or end its process: "
                f"kill {order.pid}"
            )
    return None


def _start(workspace: Workspace, order: BacktestOrder, environment: str) -> BacktestOrder:
    write_order(workspace, order)
    command = [sys.executable, "-m", "trimtab.cli", *order.arguments()]
    command += ["--project", str(workspace.project.folder.absolute()), "--env", environment]
    with (kept_folder(workspace, order.id) / PROGRESS).open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
    _STARTED.append(process)
    with contextlib.suppress(psutil.Error, PermissionError):
        psutil.Process(process.pid).nice(NICENESS)
    order = msgspec.structs.replace(order, pid=process.pid)
    write_order(workspace, order)
    return order


_STARTED: list[subprocess.Popen[bytes]] = []
"""Kept, so that a process that has ended is waited for when another one is started."""
