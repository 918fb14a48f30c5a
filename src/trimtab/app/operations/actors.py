"""Who asks for a change, and what the role of that person allows."""

from __future__ import annotations

from typing import get_args

import msgspec

from trimtab import settings
from trimtab.app.gateway.tokens import with_secret
from trimtab.app.project.workspace import Workspace
from trimtab.errors import Forbidden, UsageError, nearest
from trimtab.records.record import ActorRole
from trimtab.records.serving import Token

ROLES: tuple[ActorRole, ...] = get_args(ActorRole)


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """A person or program with a role. models: those that the role holds for; empty for all."""

    name: str
    role: ActorRole
    models: tuple[str, ...] = ()

    def may(self, role: ActorRole, model: str | None = None) -> bool:
        """Return True if the actor has at least `role`, on `model` or, for None, on all models."""
        reaches = not self.models or model in self.models
        return reaches and ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: ActorRole, model: str | None = None) -> None:
        """Raise Forbidden unless the actor has at least `role`, on `model` or, for None, on all models."""
        if not self.may(role, model):
            raise Forbidden(needed(role, model or ("all models" if self.models else None)))


def needed(role: ActorRole, model: str | None = None) -> str:
    """Return the text for an action that takes another role."""
    return f"needs the role {role}" + (f" on {model}" if model else "")


def local_actor() -> Actor:
    """Return the person who is logged in to this machine: a person who can read the stores may do everything."""
    return Actor(name=settings.login(), role="admin")


def command_actor(workspace: Workspace) -> Actor:
    """Return who types a command: who holds the token of TRIMTAB_TOKEN, without one the person at this machine.

    Raises Forbidden for a token that is not valid in this environment, or has no role.
    """
    secret = settings.read().token
    if secret is None:
        return local_actor()
    token = with_secret(workspace.metadata, workspace.clock, secret)
    found = None if token is None else actor_of(token)
    if found is None:
        what = "is not valid" if token is None else "has no role"
        raise Forbidden(f"the token of TRIMTAB_TOKEN {what} in environment {workspace.name}")
    return found


def signed_in() -> bool:
    """Return True if a token says who types a command."""
    return settings.read().token is not None


def actor_of(token: Token) -> Actor | None:
    """Return who holds a token, with its role on its models; None for one without a role, as for inference."""
    role = token.role
    if role is None:
        role = "admin" if "admin" in token.verbs else "viewer" if "read" in token.verbs else None
    return None if role is None else Actor(name=token.name, role=role, models=token.models)


def role_named(text: str) -> ActorRole:
    """Return the role of that name. Raises UsageError."""
    found = next((role for role in ROLES if role == text), None)
    if found is None:
        raise UsageError(f"'{text}' is no role.{nearest(text, ROLES)}")
    return found
