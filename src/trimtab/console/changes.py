"""What every request for a change says: a reason, and the headers that make it happen once and on what was seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from trimtab.errors import UsageError

SHORTEST_REASON = 10
"""Characters."""
LONGEST_REASON = 2000
KEY = r"^[\w.:-]{1,100}$"


class Change(BaseModel):
    """What every change says."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=SHORTEST_REASON, max_length=LONGEST_REASON)
    ] = Field(description="Why, for the record: 10 characters or more.")


class ForcedChange(Change):
    """A change that a freeze holds back."""

    force: bool = Field(default=False, description="Also while the model is frozen.")


Key = Annotated[str | None, Header(alias="idempotency-key", pattern=KEY)]


def _seen(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """Return the number of the revision that was seen. Raises UsageError."""
    if not if_match or if_match == "*":
        return None
    text = if_match.removeprefix("W/").strip('"')
    if not text.isdecimal():
        raise UsageError(f'If-Match: {if_match:.50} is no number of a revision; expected such as "7"')
    return int(text)


Seen = Annotated[int | None, Depends(_seen)]
