"""The database of the retraining workflows: how it is opened, which have ended badly, and how others leave work in it.

DBOS keeps its state in a SQLite file of the project, or in the PostgreSQL database of the environment. Workflows run
in one process, that of `trimtab up` (retraining.py). What is here runs none: it lists, queues and restarts them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.app.loop.workflow_names import DEAD, WORKFLOW, workflow_id
from trimtab.clock import SystemClock, to_micros
from trimtab.errors import StoreError, UsageError, nearest
from trimtab.lazy_library import LazyLibrary
from trimtab.records.control import Decision

if TYPE_CHECKING:
    import dbos
    import sqlalchemy as sa
else:  # they take a second to import, and a project without a retraining needs neither
    dbos, sa = LazyLibrary("dbos"), LazyLibrary("sqlalchemy")

APPLICATION = "trimtab"
QUEUE = "retraining"
"""Where other processes leave workflows for `trimtab up`."""
STEPS_VERSION = "0.2.0"
"""Of the order of the steps in retraining.py, not of Trimtab: DBOS resumes a workflow only under the version that it
was started with, so a workflow that waits survives an upgrade. Change it when the steps change."""
UNFINISHED = ["PENDING", "ENQUEUED"]
FAILED_STEP = "ERROR"
SUBSECOND_SQLITE = (3, 42, 0)
"""Since this version unixepoch('subsec') has milliseconds; before, it is NULL, or missing (sqlite.org/releaselog)."""
BUSY_TIMEOUT_MS = 30_000

WHY_DEAD = {
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "it was resumed too often: an earlier version of Trimtab allowed 100 launches",
    "CANCELLED": "it was cancelled",
}


class Connection(sqlite3.Connection):
    """A connection whose unixepoch('subsec') returns the time in seconds with every version of SQLite.

    DBOS asks for it from Python 3.12 on, and stores it as a default of columns in the file. So an older Python needs
    it as well, or a file that a newer one made cannot be written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if sqlite3.sqlite_version_info < SUBSECOND_SQLITE:
            self.create_function("unixepoch", 1, _unixepoch)


def _unixepoch(modifier: str) -> float:
    if modifier not in ("subsec", "subsecond"):
        raise ValueError(f"unixepoch('{modifier}') is not supplied for SQLite {sqlite3.sqlite_version}")
    return round(SystemClock().now().timestamp(), 3)


class DeadWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that ended without a result."""

    id: str
    model: str
    decision: str
    status: str
    reason: str


def engine_options(url: str) -> dict[str, Any]:
    """Return the options of SQLAlchemy's create_engine for the database at a URL."""
    return {"connect_args": {"factory": Connection}} if _is_sqlite(url) else {}


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn what DBOS or its database raise into StoreError, which names the database without its password."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, dbos.error.DBOSException) as error:
        shown = sa.make_url(url).render_as_string(hide_password=True)
        cause = getattr(error, "orig", None) or error
        raise StoreError(
            f"the database of the retraining workflows cannot be used: {type(cause).__name__}: {cause} ({shown})"
        ) from error


class Workflows:
    """The workflows of one project, seen by a process that runs none."""

    def __init__(self, url: str) -> None:
        """Nothing is opened or made until it is needed."""
        self._url = url

    def check(self) -> str:
        """Open the database as a run of the loop does; return what is in it. Raises StoreError."""
        if _is_sqlite(self._url):
            with store_errors(self._url), sqlite3.connect(":memory:", factory=Connection) as connection:
                if connection.execute("SELECT unixepoch('subsec')").fetchone()[0] is None:
                    raise StoreError(f"SQLite {sqlite3.sqlite_version} cannot tell the time in milliseconds")
        unfinished = len(self._list(UNFINISHED))
        return f"{unfinished} not finished" if unfinished else "opens"

    def active(self, model: str) -> list[str]:
        """Return the ids of a model's workflows that have not ended, oldest first. Raises StoreError."""
        return [w.workflow_id for w in self._list(UNFINISHED) if _argument(w, 0) == model]

    def dead(self) -> list[DeadWorkflow]:
        """Return the workflows that ended without a result, oldest first. Raises StoreError."""
        return [
            DeadWorkflow(
                id=w.workflow_id, model=_argument(w, 0), decision=_argument(w, 1), status=w.status, reason=_why(w)
            )
            for w in self._list(list(DEAD))
        ]

    def start(self, decision: Decision, *, as_of: datetime, approved: bool) -> str:
        """Queue the workflow of a decision for `trimtab up`; return its id. One that is there stays as it is."""
        workflow = workflow_id(decision.id)
        options: dbos.EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": workflow,
            "app_version": STEPS_VERSION,
        }
        with store_errors(self._url):
            self._client.enqueue(options, decision.model, decision.id, to_micros(as_of), approved)
        return workflow

    def restart(self, workflow: str) -> None:
        """Queue a dead workflow again, from the step that failed on; finished steps are not repeated.

        Raises UsageError for one that is not dead, StoreError.
        """
        dead = {each.id: each for each in self.dead()}
        if workflow not in dead:
            raise UsageError(f"no retraining '{workflow}' has ended without a result.{nearest(workflow, dead)}")
        with store_errors(self._url):
            if dead[workflow].status != FAILED_STEP:
                self._client.resume_workflow(workflow, queue_name=QUEUE)
                return
            steps = self._client.list_workflow_steps(workflow, load_output=True)
            failed = [step["function_id"] for step in steps if step["error"] is not None]
            first = failed[-1] if failed else max((step["function_id"] for step in steps), default=0) + 1
            self._client.rewind_workflow(
                workflow, start_step=first, application_version=STEPS_VERSION, queue_name=QUEUE
            )

    def forget(self, workflow: str) -> None:
        """Delete the state of a dead workflow; what its steps wrote stays. Raises UsageError, StoreError."""
        dead = [each.id for each in self.dead()]
        if workflow not in dead:
            raise UsageError(f"no retraining '{workflow}' has ended without a result.{nearest(workflow, dead)}")
        with store_errors(self._url):
            self._client.delete_workflow(workflow)

    def close(self) -> None:
        """Give back connections."""
        if "_client" in self.__dict__:
            self._client.destroy()
            self._engine.dispose()

    def _list(self, status: list[str]) -> Sequence[dbos.WorkflowStatus]:
        if _is_sqlite(self._url) and not Path(self._url.removeprefix("sqlite:///")).exists():
            return ()
        with store_errors(self._url):
            return self._client.list_workflows(name=WORKFLOW, status=status, load_output=status == list(DEAD))

    @cached_property
    def _engine(self) -> sa.Engine:
        engine = sa.create_engine(self._url, **engine_options(self._url))
        if _is_sqlite(self._url):
            sa.event.listen(engine, "connect", _set_up)
        return engine

    @cached_property
    def _client(self) -> dbos.DBOSClient:
        dbos.DBOS.migrate(self._url)
        return dbos.DBOSClient(
            system_database_engine=self._engine, application_name=APPLICATION, retry_connection_errors=False
        )


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _set_up(connection: Any, _record: Any) -> None:
    """As DBOS does it for an engine of its own."""
    connection.isolation_level = "IMMEDIATE"
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys=ON")


def _argument(workflow: dbos.WorkflowStatus, position: int) -> str:
    return str(workflow.input["args"][position]) if workflow.input else ""


def _why(workflow: dbos.WorkflowStatus) -> str:
    return WHY_DEAD.get(workflow.status) or str(workflow.error or "its error was not kept")
