"""The ledger of a project: the limits of its policy, and the store of spend of its environment."""

from __future__ import annotations

from trimtab.app.project.workspace import Workspace
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_rules import spend_rules
from trimtab.stores.catalog import open_spend
from trimtab.stores.spend.contract import SpendStore


def spend_store(workspace: Workspace) -> SpendStore:
    """Open the store of spend: in the PostgreSQL of the metadata store, else in the folder of the environment."""
    return open_spend(workspace.environment.metadata, workspace.root)


def open_ledger(workspace: Workspace) -> Ledger:
    """Open the ledger of a process. Close it at the end."""
    rules = spend_rules(workspace.project.policy.llm)
    return Ledger(spend_store(workspace), workspace.root, rules, workspace.clock)
