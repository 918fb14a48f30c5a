"""Records of the spend of periods that are over."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import datetime, timedelta

from trimtab.app.llm.spend.spend_report import cost_sums
from trimtab.app.llm.spending import spend_store
from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros, to_micros
from trimtab.errors import StoreError
from trimtab.llm.money.spend_scopes import DAY, PASSING
from trimtab.records.llm import SpendClosed
from trimtab.stores.spend.contract import Account, is_rate

log = logging.getLogger(__name__)

CLOSED_AFTER = timedelta(minutes=10)
"""How long after its end a period is closed: calls that were begun in it may still be in flight."""
LOOK_BACK = timedelta(days=70)
"""A period that ended earlier is not closed again, though turns of it may still be settled."""
KEPT = 2 * DAY
"""How long rows of users and conversations are kept after their period."""
UPKEEP_EVERY = timedelta(minutes=10)


def close_periods(workspace: Workspace) -> list[SpendClosed]:
    """Write a record of each period that is over, and forget rows that are not needed any more.

    A period whose turns were settled after it was closed gets another record.
    """
    now = workspace.now()
    with closing(spend_store(workspace)) as store:
        made = [
            record
            for account in store.accounts(since=to_micros(now - LOOK_BACK))
            if _is_over(account, now) and (record := _closed(workspace, account)) is not None
        ]
        workspace.metadata.put(*made)
        at = to_micros(now)
        store.forget(rates_before=at - DAY, scopes_before=at - KEPT, passing=PASSING)
    return made


def _is_over(account: Account, now: datetime) -> bool:
    key = account.key
    passing = is_rate(key) or key.scope.startswith(PASSING)
    return not passing and not account.held and key.finish <= to_micros(now - CLOSED_AFTER)


def _closed(workspace: Workspace, account: Account) -> SpendClosed | None:
    """Return the record of a period; None where the newest one of it says the same."""
    key = account.key
    by_purpose, by_usage = cost_sums(account)
    start, end = from_micros(key.start), from_micros(key.finish)
    before = [
        each for each in workspace.metadata.find(SpendClosed, scope=key.scope) if (each.start, each.end) == (start, end)
    ]
    if before and (before[0].by_purpose, before[0].by_usage) == (by_purpose, by_usage):
        return None
    if not by_purpose and not before:
        return None
    again = f"#{len(before) + 1}" if before else ""
    return SpendClosed(
        id=f"{key.scope}/{start:%Y-%m-%dT%H}/{end:%Y-%m-%dT%H}{again}",
        created_at=workspace.now(),
        scope=key.scope,
        start=start,
        end=end,
        by_purpose=by_purpose,
        by_usage=by_usage,
        calls=sum(each.calls for each in account.totals.values()),
    )


class SpendUpkeep:
    """Closes periods every UPKEEP_EVERY. Failures are logged and tried again; the loop goes on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._next: datetime = workspace.now()

    def step(self) -> list[SpendClosed]:
        """Close periods if it is time to, and return their records."""
        if not self._workspace.project.definitions.prompts or self._workspace.now() < self._next:
            return []
        self._next = self._workspace.now() + UPKEEP_EVERY
        try:
            return close_periods(self._workspace)
        except StoreError as error:
            log.error("the spend of periods could not be closed: %s; trying again in %s", error, UPKEEP_EVERY)
            return []
