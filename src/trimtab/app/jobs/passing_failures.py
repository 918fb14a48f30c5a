"""Which failures of a step may pass, so that the step is tried again."""

from __future__ import annotations

from trimtab.errors import (
    Conflict,
    MissingExtra,
    NotFound,
    Permanent,
    StageError,
    StoreError,
    Temporary,
    TrainerFailed,
)

PERMANENT = (NotFound, Conflict, MissingExtra, Permanent)
"""Failures of stores that a retry does not heal."""


class MayPass(StageError, Temporary):
    """A step failed by something that may pass: a store, the system, too little memory."""


def may_pass(error: BaseException) -> bool:
    """Return True if a retry of a step may succeed. What a trainer raised counts as if the step had raised it."""
    if isinstance(error, TrainerFailed) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, PERMANENT):
        return False
    return isinstance(error, Temporary | StoreError | OSError | MemoryError)
