"""The figures at the top of a page, and the tones that they are shown in."""

from __future__ import annotations

from typing import Literal

import msgspec

from trimtab.policy.matrix import Matrix

Tone = Literal["", "minor", "moderate", "severe", "pass", "waits"]
"""How a figure or a word is coloured; its text says the same."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. usual: what is usual for it, or what it is compared with. panel: id of the panel that shows it over
    time."""

    name: str
    label: str
    figure: str
    usual: str = ""
    tone: Tone = ""
    panel: str = ""


def band_tone(matrix: Matrix, band: str) -> Tone:
    """Return the tone of a p-value band: minor for the one of the largest p-values, severe for the smallest.

    Bands that the policy does not name have none.
    """
    ordered = sorted(matrix.root, key=lambda name: matrix.root[name].p, reverse=True)
    if band not in ordered:
        return ""
    if band == ordered[0]:
        return "minor"
    return "severe" if band == ordered[-1] else "moderate"
