"""The ledger of a project: the limits of its policy, and the store of spend of its environment."""

from __future__ import annotations

from trimtab import units
from trimtab.app.project.workspace import Workspace
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import Budget, RateRules, SpendRules, pico, rate
from trimtab.policy.llm.section_llm import Llm, SpendBudget, TokenLimits
from trimtab.stores.catalog import open_spend
from trimtab.stores.spend.contract import SpendStore


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


def spend_store(workspace: Workspace) -> SpendStore:
    """Open the store of spend: in the PostgreSQL of the metadata store, else in the folder of the environment."""
    return open_spend(workspace.environment.metadata, workspace.root)


def open_ledger(workspace: Workspace) -> Ledger:
    """Open the ledger of a process. Close it at the end."""
    rules = spend_rules(workspace.project.policy.llm)
    return Ledger(spend_store(workspace), workspace.root, rules, workspace.clock)
