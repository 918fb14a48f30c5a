"""The base class of all records, and the literal types that several kinds share."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

Role = Literal["champion", "challenger", "shadow"]
ActorRole = Literal["viewer", "developer", "approver", "admin"]
"""Of a person or program, from the least to the most: each role may do what the roles before it may do."""
Verdict = Literal["pass", "warn", "fail"]
Action = Literal["monitor", "review", "retrain", "rollback"]
SignalKind = Literal[
    "data",
    "prediction",
    "concept",
    "quality",
    "latency",
    "error",
    "cost",
    "kpi",
    "confidence",
    "skew",
    "freshness",
    "volume",
    "infrastructure",
]
Level = Literal["low", "medium", "high"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records. `KIND` names the kind; `KEYS` are the fields that `find` can filter by.

    `JOINTLY`: groups of keys that are often used in one search; each group has an index.
    """

    KIND: ClassVar[str] = ""
    KEYS: ClassVar[tuple[str, ...]] = ()
    JOINTLY: ClassVar[tuple[tuple[str, ...], ...]] = ()

    id: str
    created_at: datetime


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bundle was before it was promoted into an environment."""

    environment: str
    bundle: str
    """Id of the bundle there; its version can be another one here."""
    digest: str
    approvals: tuple[str, ...] = ()
    """Who approved."""
    request: str = ""
    """Id of the PromotionRequest; empty where no approval was asked for."""
