"""Calls of endpoints that one command makes and pays: with the ledger, and a budget of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from trimtab.app.llm.spending import open_ledger
from trimtab.app.project.workspace import Workspace
from trimtab.errors import TrimtabError
from trimtab.llm.evaluate.buying import Buyer
from trimtab.llm.loopback.starting import resolved
from trimtab.llm.money.spend_scopes import BudgetExceeded, Caller, pico
from trimtab.llm.redaction.project_key import project_key
from trimtab.llm.redaction.redactor import Redactor
from trimtab.llm.redaction.text_detectors import DETECTORS
from trimtab.llm.upstream.upstream_client import Upstream

T = TypeVar("T")


class EvaluationStopped(TrimtabError):
    """An evaluation has spent its budget. What it bought is kept."""

    exit_code = 1


def detecting(workspace: Workspace) -> Redactor:
    """Return a redactor with all detectors, whatever the policy keeps: for errors, and for `no_pii`."""
    llm = workspace.project.policy.llm
    return Redactor(tuple(DETECTORS), llm.redact.patterns, project_key(workspace.root, llm.store.key))


def with_budget(
    workspace: Workspace,
    *,
    whose: str,
    cap: float,
    work: Callable[[Buyer], Awaitable[T]],
    prompt: str = "",
    key: str = "llm.evaluate.budget",
) -> T:
    """Run what buys answers, in an event loop of its own.

    Args:
        workspace: of the project.
        whose: name of the budget of this command, for the ledger.
        cap: most that may be spent, in the currency of the policy.
        work: gets what buys answers.
        prompt: whose budgets count, too.
        key: of the policy, that says the cap.

    Raises:
        EvaluationStopped: `cap` is spent.
        BudgetExceeded: another budget is spent.
    """
    llm, currency = workspace.project.policy.llm, workspace.project.policy.impact.currency
    redactor, ledger = detecting(workspace), open_ledger(workspace)
    caller = Caller(prompt=prompt, run=f"{whose}-{uuid.uuid4().hex}", run_cap=pico(cap, "--max-cost"))

    async def run() -> T:
        locate = partial(resolved, run_folder=workspace.run_folder)
        upstream = Upstream(llm.timeouts, llm.retry, locate=locate, clock=workspace.clock)
        buyer = Buyer(
            upstream,
            ledger,
            caller,
            clock=workspace.clock,
            retries=llm.evaluate.retries,
            mask=lambda text: redactor.turn().shown(text),
        )
        try:
            return await work(buyer)
        finally:
            upstream.close()

    try:
        return asyncio.run(run())
    except BudgetExceeded as spent:
        if not spent.scope.startswith("run:"):
            raise
        raise EvaluationStopped(
            f"the budget of {cap:g} {currency} is spent; what was bought is kept, so that it goes on from there: raise "
            f"{key}, or give --max-cost"
        ) from None
    finally:
        ledger.close()
