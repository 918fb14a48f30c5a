"""Which rows of the store of spend a call counts in: scopes of money, rates of tokens and endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from trimtab import units
from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.clock import from_micros, to_micros
from trimtab.errors import PolicyError, TrimtabError
from trimtab.stores.spend.contract import BIGGEST, FOREVER, RATE, SpendKey

if TYPE_CHECKING:
    from trimtab.policy.llm.section_llm import Purpose  # a gateway's worker does without pydantic

PICO = 10**12
"""Units of the ledger in one unit of the currency."""
SECOND, DAY = 10**6, 86_400 * 10**6
MONDAY = 4 * DAY
"""The first Monday after 1970-01-01."""
PERIOD_WITHOUT_LIMIT = "day"
"""Over which a scope without a limit is summed."""
PASSING = ("user:", "conversation:", "run:")
"""Scopes of which there are many. Their rows are deleted some time after their period, and no record keeps them."""
KNOWN = 4096
"""Callers whose rows are remembered."""
Counted = Literal["money", "requests", "tokens", "calls"]
"""calls: those in flight at once."""


class BudgetExceeded(TrimtabError):
    """A budget does not cover the bound of a call.

    Attributes:
        scope: such as project, or prompt:triage.
        resets_at: end of the period; None: the budget has none.
        retry_after: seconds.
        in_flight: True if the rest is only held, by calls in flight or by other processes, and may come back.
        too_large: True if the call does not fit into an unspent budget.
        when_spent: what the policy says: refuse, or fallback.
    """

    exit_code = 1

    def __init__(
        self,
        scope: str,
        resets_at: datetime | None,
        retry_after: float,
        *,
        in_flight: bool,
        when_spent: str,
        bound: int,
        limit: int,
    ) -> None:
        self.scope, self.resets_at, self.retry_after = scope, resets_at, retry_after
        self.in_flight, self.when_spent, self.too_large = in_flight, when_spent, bound > limit
        until = f"; it begins anew at {resets_at:%Y-%m-%d %H:%M} UTC" if resets_at else ""
        why = "is held by calls in flight" if in_flight else "is spent"
        if self.too_large:
            why, until = f"is {limit / PICO:g}, and this call may cost up to {bound / PICO:g}", ""
        super().__init__(f"the budget of {scope} {why}{until}")


class RateLimited(TrimtabError):
    """A rate, or the number of calls at once, is used up.

    Attributes:
        scope: such as token:web/requests.
        retry_after: seconds.
        too_large: True if the call does not fit into an unused limit; trying again does not help.
    """

    exit_code = 1

    def __init__(self, scope: str, retry_after: float, *, wanted: int, limit: int) -> None:
        self.scope, self.retry_after, self.too_large = scope, retry_after, wanted > limit
        reached = f"is reached; try again in {retry_after:.1f} s"
        needs = f"is too small for this call, which may take up to {wanted:,}"
        super().__init__(f"the limit of {limit:,} of {scope} {needs if self.too_large else reached}")


class Budget(NamedTuple):
    """What a scope may spend in a period."""

    cap: int
    period: str
    """hour, day, week or month; empty: no period."""
    when_spent: str = "refuse"


class RateRules(NamedTuple):
    """Rates as (limit, seconds), and most calls at once."""

    requests: tuple[int, int] | None = None
    tokens: tuple[int, int] | None = None
    calls: int | None = None


class SpendRules(NamedTuple):
    """The limits of a policy."""

    budgets: Mapping[str, Budget] = {}
    """By scope; token, user, tenant and conversation stand for each one. Other names are of tokens."""
    limits: RateRules = RateRules()
    """Of each token."""
    token_limits: Mapping[str, RateRules] = {}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a call counts for."""

    prompt: str = ""
    token: str = ""
    user: str = ""
    """Keyed hash, never a name."""
    tenant: str = ""
    conversation: str = ""
    """Keyed hash."""
    budget: str = ""
    """The token's own entry of `llm.budgets`."""
    limits: str = ""
    """The token's own entry of `llm.token_limits`."""
    endpoint: EndpointSpec | None = None
    run: str = ""
    """An evaluation or a search with a budget of its own."""
    run_cap: int = 0


class Part(NamedTuple):
    """A row that a call counts in."""

    key: SpendKey
    cap: int | None
    counted: Counted
    when_spent: str = "refuse"


def pico(amount: float, where: str) -> int:
    """Return an amount of money in the units of the ledger. Raises PolicyError for one that is too big."""
    found = round(amount * PICO)
    if not 0 <= found <= BIGGEST // 4:
        raise PolicyError(f"{where}: {amount:,} is too much; expected at most {BIGGEST // 4 // PICO:,}")
    return found


def rate(text: str | None) -> tuple[int, int] | None:
    """Return a rate such as 600/min as (limit, seconds)."""
    if text is None:
        return None
    value, period = units.per_period(text)
    return max(1, int(value)), units.RATE_SECONDS[period]


class Periods:
    """Starts and ends of periods in UTC. A day begins at midnight, a week on Monday."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, period: str, at: int) -> tuple[int, int]:
        """Return start and end of the period that holds a time."""
        known = self._known.get(period)
        if known is None or not known[0] <= at < known[1]:
            known = self._known[period] = _period(period, at)
        return known


def _period(period: str, at: int) -> tuple[int, int]:
    if period == "month":
        first = from_micros(at).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return to_micros(first), to_micros((first + timedelta(days=32)).replace(day=1))
    if not period:
        return 0, FOREVER
    length = {"hour": 3600 * SECOND, "day": DAY, "week": 7 * DAY}.get(period) or int(period) * SECOND
    start = at - (at - MONDAY if period == "week" else at) % length
    return start, start + length


class Scopes:
    """Which rows calls count in, by the limits of a policy."""

    def __init__(self, rules: SpendRules) -> None:
        self.rules = rules
        self._periods = Periods()
        self._known: dict[tuple[object, ...], tuple[int, list[Part], tuple[SpendKey, ...]]] = {}

    def of(self, caller: Caller, purpose: Purpose, at: int) -> tuple[list[Part], tuple[SpendKey, ...]]:
        """Return the rows that a call counts in, and those of them that count money."""
        endpoint = caller.endpoint.name if caller.endpoint is not None else ""
        which = (
            *(caller.prompt, caller.token, caller.user, caller.tenant, caller.conversation, caller.budget),
            *(caller.limits, caller.run, caller.run_cap, endpoint, purpose),
        )
        known = self._known.get(which)
        if known is None or at >= known[0]:
            if len(self._known) >= KNOWN:
                self._known.clear()
            parts = _parts(self.rules, self._periods, caller, purpose, at)
            money = tuple(part.key for part in parts if part.counted == "money")
            known = self._known[which] = min(part.key.finish for part in parts), parts, money
        return known[1], known[2]


def _parts(rules: SpendRules, periods: Periods, caller: Caller, purpose: Purpose, at: int) -> list[Part]:
    found = [
        _money(rules, periods, scope, names, at)
        for scope, names in (
            ("project", ("project",)),
            (f"prompt:{caller.prompt}" if caller.prompt else "", (f"prompt:{caller.prompt}",)),
            (f"purpose:{purpose}", (f"purpose:{purpose}",)),
            (f"token:{caller.token}" if caller.token else "", (caller.budget or "token",)),
        )
        if scope
    ]
    for name in ("user", "tenant", "conversation"):
        value = getattr(caller, name)
        if value and name in rules.budgets:
            found.append(_money(rules, periods, f"{name}:{value}", (name,), at))
    if caller.run:
        found.append(Part(SpendKey(f"run:{caller.run}", 0, FOREVER), caller.run_cap, "money"))
    if caller.token:
        limits = rules.token_limits.get(caller.limits, rules.limits) if caller.limits else rules.limits
        found += _rate_parts(periods, f"token:{caller.token}", limits, at)
    if caller.endpoint is not None:
        found += _rate_parts(periods, f"endpoint:{caller.endpoint.name}", _endpoint_rates(caller.endpoint), at)
    return found


def _money(rules: SpendRules, periods: Periods, scope: str, names: Sequence[str], at: int) -> Part:
    budget = next((rules.budgets[name] for name in names if name in rules.budgets), None)
    if budget is None:
        return Part(SpendKey(scope, *periods.of(PERIOD_WITHOUT_LIMIT, at)), None, "money")
    return Part(SpendKey(scope, *periods.of(budget.period, at)), budget.cap, "money", budget.when_spent)


def _endpoint_rates(endpoint: EndpointSpec) -> RateRules:
    return RateRules(rate(endpoint.requests), rate(endpoint.tokens), endpoint.concurrent)


def _rate_parts(periods: Periods, whose: str, limits: RateRules, at: int) -> list[Part]:
    found = []
    for counted, limit in (("requests", limits.requests), ("tokens", limits.tokens)):
        if limit is not None:
            key = SpendKey(f"{RATE}{whose}/{counted}", *periods.of(str(limit[1]), at))
            found.append(Part(key, limit[0], counted))  # type: ignore[arg-type]  # one of Counted
    if limits.calls is not None:
        found.append(Part(SpendKey(f"{RATE}{whose}/calls", 0, FOREVER), limits.calls, "calls"))
    return found
