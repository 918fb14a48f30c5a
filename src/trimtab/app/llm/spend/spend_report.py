"""What prompts have cost, by scope and period."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.llm.spending import spend_store
from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros
from trimtab.errors import NotFound, nearest
from trimtab.llm.money.spend_scopes import PICO
from trimtab.stores.spend.contract import FOREVER, Account, is_rate

ALL = 1_000_000
"""Periods: more than there are."""


class ScopeSpend(msgspec.Struct, frozen=True, kw_only=True):
    """A scope in one period. Money is in the currency of `impact`."""

    scope: str
    start: datetime | None
    """None: it has no period."""
    end: datetime | None
    limit: float | None
    spent: float
    held: float
    """By calls in flight, and leased by processes."""
    calls: int
    input_tokens: int
    output_tokens: int
    by_purpose: Mapping[str, float]
    by_usage: Mapping[str, float]
    """reported, counted, estimated, assumed."""
    estimated_share: float
    """Of `spent`."""
    assumed_share: float


class SpendReport(msgspec.Struct, frozen=True, kw_only=True):
    """What prompts have cost."""

    currency: str
    scopes: tuple[ScopeSpend, ...]
    assumed_turns: int
    """Turns that count at their bound until they are settled."""


def spend_report(workspace: Workspace, *, scope: str | None = None, last: int = 1) -> SpendReport:
    """Return what scopes have spent.

    Args:
        workspace: the project.
        scope: only this one, such as prompt:triage.
        last: how many of the newest periods of each scope.

    Raises:
        NotFound: nothing was ever counted in the scope.
    """
    with closing(spend_store(workspace)) as store:
        accounts = [account for account in store.accounts() if not is_rate(account.key)]
        assumed = len(store.assumed())
    names = {account.key.scope for account in accounts}
    if scope is not None and scope not in names:
        raise NotFound(f"no turn has counted in the scope '{scope}'.{nearest(scope, names)}")
    shown = []
    for name in sorted(names if scope is None else {scope}):
        own = [account for account in accounts if account.key.scope == name]
        shown += [_scope(account) for account in own[-last:]]
    return SpendReport(currency=workspace.project.policy.impact.currency, scopes=tuple(shown), assumed_turns=assumed)


def served_spend(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """Return what the turns of a prompt have cost in all periods, and since when they count; None for a model.

    serving: turns that clients got, in the currency of `impact`. since: start of the first period as ISO text; None
    where the scope has no periods.
    """
    if name not in workspace.project.definitions.prompts:
        return None
    try:
        periods = spend_report(workspace, scope=f"prompt:{name}", last=ALL).scopes
    except NotFound:
        return {"serving": 0.0, "since": None}
    first = periods[0].start
    cost = math.fsum(each.by_purpose.get("serve", 0.0) for each in periods)
    return {"serving": cost, "since": None if first is None else first.isoformat()}


def _scope(account: Account) -> ScopeSpend:
    key, spent = account.key, account.spent
    by_purpose, by_usage = cost_sums(account)
    ends = key.finish != FOREVER
    totals = account.totals.values()
    return ScopeSpend(
        scope=key.scope,
        start=from_micros(key.start) if ends else None,
        end=from_micros(key.finish) if ends else None,
        limit=None if account.cap is None else account.cap / PICO,
        spent=spent / PICO,
        held=account.held / PICO,
        calls=sum(each.calls for each in totals),
        input_tokens=sum(each.input for each in totals),
        output_tokens=sum(each.output for each in totals),
        by_purpose={name: cost / PICO for name, cost in by_purpose.items()},
        by_usage={name: cost / PICO for name, cost in by_usage.items()},
        estimated_share=by_usage.get("estimated", 0) / spent if spent else 0.0,
        assumed_share=by_usage.get("assumed", 0) / spent if spent else 0.0,
    )


def cost_sums(account: Account) -> tuple[dict[str, int], dict[str, int]]:
    """Return the cost of an account by purpose and by kind of usage."""
    by_purpose, by_usage = dict[str, int](), dict[str, int]()
    for (purpose, usage), total in account.totals.items():
        if total.calls or total.cost:
            by_purpose[purpose] = by_purpose.get(purpose, 0) + total.cost
            by_usage[usage] = by_usage.get(usage, 0) + total.cost
    return by_purpose, by_usage
