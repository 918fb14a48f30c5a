"""The decision matrix: p-value band x business impact -> monitor, review or retrain."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, RootModel, model_validator

from trimtab.policy.values import Written

Cell = Literal["monitor", "review", "retrain"]

_NUMBER = r"([0-9]*\.?[0-9]+)"
_ABOVE = re.compile(rf"^\s*>\s*{_NUMBER}\s*$")
_BELOW = re.compile(rf"^\s*<\s*{_NUMBER}\s*$")
_BETWEEN = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")


def _band(value: object) -> object:
    """Return the limits of a band that is given as text or as two numbers."""
    text = value if isinstance(value, str) else ""
    if match := _ABOVE.match(text):
        low, high = float(match[1]), 1.0
    elif match := _BELOW.match(text):
        low, high = 0.0, float(match[1])
    elif match := _BETWEEN.match(text):
        low, high = float(match[1]), float(match[2])
    elif isinstance(value, tuple) and len(value) == 2:
        low, high = map(float, value)
    else:
        raise ValueError(f"'{value}' is no band of p-values: expected '> 0.05', '0.01 - 0.05' or '< 0.01'")
    if not 0 <= low < high <= 1:
        raise ValueError(f"'{value}' is no band of p-values: expected 0 <= low < high <= 1")
    return (low, high)


class Band(BaseModel):
    """One band of p-values, and what is done at each level of business impact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p: Annotated[
        tuple[float, float],
        BeforeValidator(_band),
        Written(
            "band of p-values",
            {"type": "string", "pattern": r"^\s*([<>]\s*[0-9.]+|[0-9.]+\s*-\s*[0-9.]+)\s*$", "examples": ["< 0.01"]},
        ),
    ]
    """The band's limits: the lower one belongs to it, the upper one does not, except 1."""
    low: Cell
    """What is done while the impact is below `impact.medium`."""
    medium: Cell
    """What is done from `impact.medium` on."""
    high: Cell
    """What is done from `impact.high` on."""


class Matrix(RootModel[dict[str, Band]]):
    """Bands by name; together they cover 0 to 1 without gap or overlap."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _covers(self) -> Matrix:
        edge = 0.0
        for (low, high), name in sorted((band.p, name) for name, band in self.root.items()):
            if low != edge:
                what = "overlap" if low < edge else "leave a gap"
                raise ValueError(
                    f"the bands {what} between p = {min(low, edge):g} and {max(low, edge):g} (at '{name}')"
                )
            edge = high
        if edge != 1.0:
            raise ValueError(f"the bands end at p = {edge:g}; expected them to cover 0 to 1")
        return self

    def band(self, p: float) -> tuple[str, Band]:
        """Return the band that p falls in, with its name. Raises ValueError when p is not between 0 and 1."""
        for name, band in self.root.items():
            if band.p[0] <= p < band.p[1] or p == band.p[1] == 1.0:
                return name, band
        raise ValueError(f"p = {p} is not between 0 and 1")


DEFAULT_MATRIX = {
    "minor": {"p": "> 0.05", "low": "monitor", "medium": "monitor", "high": "review"},
    "moderate": {"p": "0.01 - 0.05", "low": "monitor", "medium": "review", "high": "review"},
    "severe": {"p": "< 0.01", "low": "review", "medium": "review", "high": "retrain"},
}
