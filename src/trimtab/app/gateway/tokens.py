"""Tokens for callers of the gateway: creates, lists and revokes them, and lists the valid ones for the workers."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from trimtab.clock import Clock, to_micros
from trimtab.errors import Conflict, UsageError, nearest
from trimtab.records.record import ActorRole
from trimtab.records.serving import Token, TokenRevocation
from trimtab.serving.endpoints import Permission
from trimtab.serving.orders import Grant
from trimtab.stores.metadata.contract import Metadata

PREFIX = "tt_"
"""So that scanners of repositories and logs can tell a token when they see one."""
SECRET_BYTES = 32
PERMISSIONS: tuple[str, ...] = tuple(each for each in get_args(Permission) if each != "open")
USUAL_PERMISSIONS = ("infer", "chat", "feedback", "read")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

TokenState = Literal["valid", "expired", "revoked"]


@dataclass(frozen=True)
class TokenStatus:
    """A token, and whether it still opens anything."""

    token: Token
    state: TokenState
    revocation: TokenRevocation | None


def create(
    metadata: Metadata,
    clock: Clock,
    name: str,
    *,
    models: Sequence[str] = (),
    verbs: Sequence[str] = USUAL_PERMISSIONS,
    expires_in: timedelta | None = None,
    role: ActorRole | None = None,
    reason: str = "",
    budget: str = "",
    limits: str = "",
    by: str,
) -> tuple[Token, str]:
    """Make a token; return its record and its secret, which is kept nowhere.

    models: empty for all. role: in pages and in the control API. budget, limits: names of the section `llm`. Raises
    UsageError for a name that is taken or a verb that is none.
    """
    if NAME.fullmatch(name) is None:
        raise UsageError(f"'{name}' is no name for a token; expected up to 64 letters, digits, '.', '_' or '-'")
    for verb in verbs:
        if verb not in PERMISSIONS:
            raise UsageError(f"--verb {verb}: no such verb.{nearest(verb, PERMISSIONS)}")
    if not verbs:
        raise UsageError(f"a token without verbs opens nothing; verbs: {', '.join(PERMISSIONS)}")
    now = clock.now()
    taken = next((each for each in statuses(metadata, clock) if each.token.name == name), None)
    if taken is not None and taken.state == "valid":
        raise UsageError(f"there is a token '{name}' already; choose another name, or: trimtab token revoke {name}")
    secret = PREFIX + secrets.token_hex(SECRET_BYTES)
    token = Token(
        id=f"{name}#{metadata.count(Token, name=name) + 1}",
        created_at=now,
        name=name,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        models=tuple(dict.fromkeys(models)),
        verbs=tuple(verb for verb in PERMISSIONS if verb in verbs),
        expires_at=None if expires_in is None else now + expires_in,
        by=by,
        role=role,
        reason=reason,
        budget=budget,
        limits=limits,
    )
    try:
        metadata.put(token)
    except Conflict:
        raise UsageError(f"another process made a token '{name}' at the same time; choose another name") from None
    return token, secret


def statuses(metadata: Metadata, clock: Clock) -> list[TokenStatus]:
    """Return all tokens that ever were, newest first."""
    revoked = {revocation.token: revocation for revocation in metadata.find(TokenRevocation)}
    now = clock.now()
    return [TokenStatus(token, _state(token, revoked, now), revoked.get(token.id)) for token in metadata.find(Token)]


def with_secret(metadata: Metadata, clock: Clock, secret: str) -> Token | None:
    """Return the valid token with a secret, or None."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    valid = (each.token for each in statuses(metadata, clock) if each.state == "valid")
    return next((token for token in valid if hmac.compare_digest(token.sha256, digest)), None)


def revoke(metadata: Metadata, clock: Clock, name: str, *, reason: str, by: str) -> TokenRevocation:
    """End a token by its name or id; the gateway refuses it within a poll. Raises UsageError.

    Revoking again returns the first revocation.
    """
    known = statuses(metadata, clock)
    found = [each for each in known if name in (each.token.name, each.token.id)]
    if not found:
        raise UsageError(f"no token '{name}'.{nearest(name, {each.token.name for each in known})}")
    last = next((each for each in found if each.state == "valid"), found[0])
    if last.revocation is not None:
        return last.revocation
    revocation = TokenRevocation(
        id=f"{last.token.id}/revocation", created_at=clock.now(), token=last.token.id, reason=reason, by=by
    )
    try:
        metadata.put(revocation)
    except Conflict:  # another process revoked it first, perhaps for another reason
        return metadata.get(TokenRevocation, revocation.id)
    return revocation


def grants(metadata: Metadata, clock: Clock) -> tuple[Grant, ...]:
    """Return what the valid tokens open, for the workers. Equal as long as nothing has changed."""
    return tuple(
        Grant(
            sha256=token.sha256,
            name=token.name,
            models=token.models,
            verbs=token.verbs,
            expires_at=None if token.expires_at is None else to_micros(token.expires_at),
            budget=token.budget,
            limits=token.limits,
        )
        for each in statuses(metadata, clock)
        if each.state == "valid"
        for token in [each.token]
    )


def _state(token: Token, revoked: dict[str, TokenRevocation], now: datetime) -> TokenState:
    if token.id in revoked:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "valid"
