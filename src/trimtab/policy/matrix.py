"""The decision matrix: p-value band x business impact -> monitor, review or retrain."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, RootModel, model_validator

Cell = Literal["monitor", "review", "retrain"]

_NUMBER = r"([0-9]*\.?[0-9]+)"
_ABOVE = re.compile(rf"^\s*>\s*{_NUMBER}\s*$")
_BELOW = re.compile(rf"^\s*<\s*{_NUMBER}\s*$")
_BETWEEN = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")


def _band(text: object) -> object:
    if not isinstance(text, str):
        return text
    if match := _ABOVE.match(text):
        low, high = float(match[1]), 1.0
    elif match := _BELOW.match(text):
        low, high = 0.0, float(match[1])
    elif match := _BETWEEN.match(text):
        low, high = float(match[1]), float(match[2])
    else:
        raise ValueError(f"'{text}' is no band of p-values: expected '> 0.05', '0.01 - 0.05' or '< 0.01'")
    if not 0 <= low < high <= 1:
        raise ValueError(f"'{text}' is no band of p-values: expected 0 <= low < high <= 1")
    return (low, high)


class Band(BaseModel):
    """One band of p-values and what to do at each level of business impact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p: Annotated[tuple[float, float], BeforeValidator(_band)]
    """Lower (included) and upper (excluded) limit; a band that ends at 1 includes 1."""
    low: Cell
    medium: Cell
    high: Cell


class Matrix(RootModel[dict[str, Band]]):
    """Bands by name; together they cover 0 to 1 without gap or overlap."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _covers(self) -> Matrix:
        bands = sorted((band.p, name) for name, band in self.root.items())
        edge = 0.0
        for (low, high), name in bands:
            if abs(low - edge) > 1e-12:
                what = "overlap" if low < edge else "leave a gap"
                raise ValueError(f"the bands {what} at p = {min(low, edge):g} (band '{name}' starts at {low:g})")
            edge = high
        if abs(edge - 1.0) > 1e-12:
            raise ValueError(f"the bands end at p = {edge:g}; expected them to cover 0 to 1")
        return self

    def band(self, p: float) -> tuple[str, Band]:
        """Return the band that p falls in, with its name."""
        for name, band in self.root.items():
            if band.p[0] <= p < band.p[1] or (p >= 1.0 and band.p[1] == 1.0):
                return name, band
        raise ValueError(f"p = {p} is not between 0 and 1")


DEFAULT_MATRIX = {
    "minor": {"p": "> 0.05", "low": "monitor", "medium": "monitor", "high": "review"},
    "moderate": {"p": "0.01 - 0.05", "low": "monitor", "medium": "review", "high": "review"},
    "severe": {"p": "< 0.01", "low": "review", "medium": "review", "high": "retrain"},
}
