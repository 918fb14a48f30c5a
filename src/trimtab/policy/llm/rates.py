"""Values of the section `llm`: rates of requests, and limits of money over a period."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from trimtab import units

RATE_SECONDS = units.RATE_SECONDS
PERIODS = ("hour", "day", "week", "month")
parse = units.per_period


def _one_of(names: Iterable[str]) -> AfterValidator:
    def check(text: str) -> str:
        units.per_period(text, names)
        return text

    return AfterValidator(check)


Rate = Annotated[str, _one_of(RATE_SECONDS)]
"""Such as 600/min: a number and one of RATE_SECONDS."""
SpendLimit = Annotated[str, _one_of(PERIODS)]
"""Such as 20/day: money and one of PERIODS."""
