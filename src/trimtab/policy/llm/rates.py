"""Values of the section `llm`: rates of requests, and limits of money over a period."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from trimtab.errors import nearest

RATE_SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
PERIODS = ("hour", "day", "week", "month")
_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([a-z]+)\s*")


class Parsed(NamedTuple):
    """A number and the period it is counted over."""

    value: float
    period: str


def parse(text: str) -> Parsed:
    """Return a rate such as 600/min or 20/day. Raises ValueError without a number, a slash and a period."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no number and period, such as 600/min or 20/day")
    return Parsed(float(found[1]), found[2])


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    def check(text: str) -> str:
        period = parse(text).period
        if period not in names:
            raise ValueError(f"'{text}': unknown period '{period}'.{nearest(period, names)}")
        return text

    return AfterValidator(check)


Rate = Annotated[str, _one_of(tuple(RATE_SECONDS))]
"""Such as 600/min: a number and one of RATE_SECONDS."""
SpendLimit = Annotated[str, _one_of(PERIODS)]
"""Such as 20/day: money and one of PERIODS."""
