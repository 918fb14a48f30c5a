"""Who may call the gateway, and for what. Made by worker, asked by asgi and the gRPC service.

A caller shows its token as `Authorization: Bearer TOKEN`, or as `X-Api-Key: TOKEN` where a client can set a header
but no scheme. Only the digests of tokens are known here. The supervisor sends all valid tokens again whenever they
change, so a revoked one is refused from then on, on open connections as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from trimtab.clock import Clock, from_micros
from trimtab.serving.orders import Grant
from trimtab.serving.requests import Refused
from trimtab.serving.web.http import Headers, Verb

HOW = "send it as the header 'Authorization: Bearer TOKEN'; tokens are made with: trimtab token create NAME"


@dataclass(frozen=True, slots=True)
class Grants:
    """What each token opens and when it ends, by the SHA-256 of its secret. Immutable: changes come as a new one."""

    by_digest: Mapping[bytes, tuple[Grant, datetime | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> Grants:
        """Return the grants as they come from the supervisor."""
        return cls(
            {
                bytes.fromhex(grant.sha256): (
                    grant,
                    None if grant.expires_at is None else from_micros(grant.expires_at),
                )
                for grant in grants
            }
        )


class Access:
    """Checks requests against the grants of the moment; `grants` may be replaced at any time, from any thread."""

    def __init__(self, grants: Grants, clock: Clock) -> None:
        self.grants = grants
        self._clock = clock

    def check(self, headers: Headers, verb: Verb, model: str | None) -> None:
        """Let a request pass, or raise Refused: 401 without a valid token, 403 when it does not allow this.

        headers: names in lower case. model: what the request is about; None for what concerns all models, which
        only a token for all models opens.
        """
        if verb == "open":
            return
        for name, value in headers:
            if name == b"authorization":
                if value[:7].lower() != b"bearer ":
                    raise Refused(401, f"the header Authorization holds no bearer token; {HOW}")
                secret = value[7:].strip()
                break
            if name == b"x-api-key":
                secret = value
                break
        else:
            raise Refused(401, f"this gateway asks for a token; {HOW}")
        found = self.grants.by_digest.get(hashlib.sha256(secret).digest())
        if found is None:
            raise Refused(401, "the token is not known: mistyped, revoked, or of another gateway; " + HOW)
        grant, ends = found
        if ends is not None and ends <= self._clock.now():
            raise Refused(401, f"the token '{grant.name}' has expired; {HOW}")
        if verb not in grant.verbs:
            raise Refused(403, f"the token '{grant.name}' does not allow '{verb}', only: {', '.join(grant.verbs)}")
        if grant.models and model not in grant.models:
            what = f"model '{model:.100}'" if model else "what concerns all models"
            raise Refused(403, f"the token '{grant.name}' does not open {what}, only: {', '.join(grant.models)}")
