"""The limits of a policy as the ledger takes them."""

from __future__ import annotations

from trimtab import units
from trimtab.llm.money.spend_scopes import Budget, RateRules, SpendRules, pico, rate
from trimtab.policy.llm.section_llm import Llm, SpendBudget, TokenLimits


def spend_rules(llm: Llm) -> SpendRules:
    """Return the limits of a policy. Raises PolicyError for a budget that is too big."""
    given = dict(llm.budgets)
    for purpose, limit in (("shadow", llm.shadow.budget), ("judge", llm.judge.budget)):
        given.setdefault(f"purpose:{purpose}", SpendBudget(limit=limit))
    budgets = {}
    for scope, each in given.items():
        value, period = units.per_period(each.limit)
        budgets[scope] = Budget(pico(value, f"llm.budgets.{scope}.limit"), period, each.when_spent)
    return SpendRules(budgets, _rates(llm.limits), {name: _rates(each) for name, each in llm.token_limits.items()})


def _rates(limits: TokenLimits) -> RateRules:
    return RateRules(rate(limits.requests), rate(limits.tokens), limits.concurrent)
