"""Tokens that an admin makes and revokes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from trimtab.app.gateway import tokens
from trimtab.app.operations.actors import Actor, role_named
from trimtab.app.project.workspace import Workspace
from trimtab.errors import UsageError, nearest
from trimtab.records.serving import Token, TokenRevocation


def create_token(
    workspace: Workspace,
    actor: Actor,
    name: str,
    *,
    reason: str = "",
    models: Sequence[str] = (),
    verbs: Sequence[str] = tokens.USUAL_PERMISSIONS,
    expires_in: timedelta | None = None,
    role: str | None = None,
    budget: str = "",
    limits: str = "",
) -> tuple[Token, str]:
    """Make a token; return its record and its secret, which is kept nowhere.

    models: empty for all. role: in pages and in the control API; None as the verbs say. budget, limits: of its calls of
    prompts, names of `llm.budgets` and `llm.token_limits`. Raises Forbidden below admin, DefinitionError for a model
    that is none, and UsageError for names that the policy does not have and as `tokens.create`.
    """
    actor.require("admin")
    for model in models:
        workspace.served(model)
    llm = workspace.project.policy.llm
    for option, given, known in (("budget", budget, llm.budgets), ("limits", limits, llm.token_limits)):
        if given and given not in known:
            where = "llm.budgets" if option == "budget" else "llm.token_limits"
            raise UsageError(f"--{option} {given}: no such name in {where} of trimtab.yaml.{nearest(given, known)}")
    return tokens.create(
        workspace.metadata,
        workspace.clock,
        name,
        models=models,
        verbs=verbs,
        expires_in=expires_in,
        role=None if role is None else role_named(role),
        reason=reason,
        budget=budget,
        limits=limits,
        by=actor.name,
    )


def revoke_token(workspace: Workspace, actor: Actor, name: str, *, reason: str) -> TokenRevocation:
    """End a token by its name or id. Revoking again returns the first revocation.

    Raises Forbidden below admin, and UsageError for a token that is none.
    """
    actor.require("admin")
    return tokens.revoke(workspace.metadata, workspace.clock, name, reason=reason, by=actor.name)
