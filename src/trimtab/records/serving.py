"""Records of serving: revisions, tokens, gaps of the prediction log."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from trimtab.records.record import ActorRole, Origin, Record, Role


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle in one role, with its share of the traffic in percent."""

    role: Role
    bundle: str
    version: int
    weight: float
    kept: bool = False
    """A former champion that stays as a shadow: it is compared with the champion, and can serve again."""
    sample: float = 1.0
    """Share of the turns of a prompt that its shadow answers, too."""


class Revision(Record, frozen=True, kw_only=True):
    """Which bundles serve, in which role; append-only; id is `model#number`."""

    KIND = "revision"
    KEYS = ("model", "number", "cause")

    model: str
    number: int
    assignments: tuple[Assignment, ...]
    action: Literal["deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"]
    cause: str
    """What caused it: a workflow step, a decision or a command's key. A second revision of one cause is not written."""
    reason: str
    by: str
    as_of: datetime | None = None
    """Event time: end of the model's newest closed window. None before its first one, and in older records."""
    origin: Origin | None = None
    """Of a bundle that was promoted from another environment by this revision."""
    cut: bool = False
    """Whether answers of a prompt that are being streamed by versions without a role now end at once."""

    def bundle_in(self, role: Role) -> str | None:
        """Return the id of the bundle in `role`, or None. Former champions that stay as shadows do not count."""
        return next((a.bundle for a in self.assignments if a.role == role and not a.kept), None)


class Token(Record, frozen=True, kw_only=True):
    """Permission to call the gateway and the control API. The secret itself is shown once and not stored."""

    KIND = "token"
    KEYS = ("name",)

    name: str
    sha256: str
    """Of the secret, in hex."""
    models: tuple[str, ...]
    """Models that it gives access to; empty for all."""
    verbs: tuple[str, ...]
    """Any of infer, chat, embed, pin, feedback, read, trigger, admin."""
    expires_at: datetime | None
    by: str
    budget: str = ""
    """Name of a budget of `llm.budgets`, which its calls of prompts are held to; empty: none of its own."""
    limits: str = ""
    """Name of limits of `llm.token_limits`; empty: `llm.limits`."""
    role: ActorRole | None = None
    """In pages and in the control API. None: admin with the verb admin, viewer with read, no role otherwise."""
    reason: str = ""
    """Why it was made."""


class TokenRevocation(Record, frozen=True, kw_only=True):
    """The end of a token; id is `token/revocation`."""

    KIND = "token_revocation"
    KEYS = ("token",)

    token: str
    reason: str
    by: str


class LogGap(Record, frozen=True, kw_only=True):
    """Predictions that were sent to clients but could not be logged."""

    KIND = "log_gap"
    KEYS = ("worker",)

    worker: str
    rows: int
    start: datetime
    end: datetime
    reason: str
