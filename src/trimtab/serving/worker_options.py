"""The options that a worker gets once, when it starts."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_BODY = 16 * 2**20
"""Largest request body in bytes, as sent and unpacked."""


class Tls(msgspec.Struct, frozen=True):
    """PEM files, absolute paths."""

    certificate: str
    key: str
    client_ca: str | None = None


class Fallbacks(msgspec.Struct, frozen=True, kw_only=True):
    """The fallbacks for a model that fails or is too slow."""

    previous_champion: bool = True
    value: float | str | None = None
    """A score, or the name of a class of a multiclass model."""
    slower_than_s: float | None = None


class PushedSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source whose rows clients may push."""

    name: str
    columns: dict[str, str]
    """Column -> "text", "integer", "number", "boolean" or "time"."""
    required: tuple[str, ...]
    """Columns that may not be null."""
    folder: str
    """Of the spool; an absolute path."""
    most_bytes: int = 2**30
    """Most bytes of the spool."""


class FiredTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger that clients may fire."""

    name: str
    branch: str | None = None
    """Of a merge: the pattern of the branch that counts; None: the trigger is not about merges."""
    secret: str | None = None
    """Name of the environment variable with the secret of its webhook."""
    option: str = ""
    """What commands about its events need to find the environment, such as " --env production"."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and behaviour of a worker; times in seconds."""

    max_body: int = MAX_BODY
    max_rows: int = 100_000
    max_waiting_rows: int = 20_000
    timeout_s: float = 30.0
    drain_s: float = 10.0
    drain_delay_s: float = 0.0
    durability: Literal["acknowledged", "interval"] = "interval"
    flush_s: float = 1.0
    when_full: Literal["serve", "refuse"] = "serve"
    fallbacks: Fallbacks = Fallbacks()
    trust: tuple[str, ...] = ()
    authentication: bool = False
    tls: Tls | None = None
    allowed_hosts: tuple[str, ...] | None = ()
    """Host names that requests may be sent to, beyond those of this machine; None: any."""
    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may send requests, beyond the gateway's own."""
    checks: Literal["warn", "refuse", "off"] = "warn"
    """What to do with rows whose request columns differ from what the bundle expects."""
    tell_inputs: bool = False
    """Whether to count the different inputs of a run of equal scores, which the limit constant_output needs."""
    kpis: tuple[str, ...] = ()
    """Names of the KPI streams whose points clients may push."""
    sources: tuple[PushedSource, ...] = ()
    """The sources whose rows clients may push."""
    models: tuple[str, ...] = ()
    """Names of the models that clients may ask the loop to retrain."""
    triggers: tuple[FiredTrigger, ...] = ()
    """The triggers that clients may fire."""
