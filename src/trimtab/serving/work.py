"""The rows of one request on their way through a turn. Made by gateway, filled by scoring, logged by desk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trimtab.serving.table import Lane, ModelTable

Entities = list[tuple[str, str]]


@dataclass(slots=True, eq=False, kw_only=True)
class Work:
    """Some rows of one request, and what became of them."""

    table: ModelTable
    lanes: list[Lane]
    """Of each row: the lane that answers it."""
    columns: Mapping[str, Sequence[Any]]
    features: np.ndarray[Any, Any] | None
    ids: list[str]
    at: list[int]
    """Event time of each row, microseconds since the epoch."""
    entities: list[Entities | None]
    received_ns: int
    rows: int = field(init=False)
    vectors: dict[tuple[object, ...], np.ndarray[Any, Any]] = field(default_factory=dict)
    """By the recipe of the bundles that share them."""
    scores: list[float] = field(default_factory=list)
    failure: tuple[int, str] | None = None
    """HTTP status and text, when the request is not answered."""
    done: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        self.rows = len(self.ids)

    def parts(self) -> list[Part]:
        """Return one part for each lane that answers some of the rows."""
        first = self.lanes[0]
        if self.rows == 1 or all(lane is first for lane in self.lanes):
            return [Part(self, first, None)]
        found: dict[Lane, list[int]] = {}
        for row, lane in enumerate(self.lanes):
            found.setdefault(lane, []).append(row)
        return [Part(self, lane, rows) for lane, rows in found.items()]

    def parts_beside(self) -> list[Part]:
        """Return the rows of each lane that did not answer them."""
        if self.rows == 1 or len(self.table.lanes) == 1:
            answering = self.lanes[0].bundle
            return [Part(self, lane, None) for lane in self.table.lanes if lane.bundle is not answering]
        found = []
        for lane in self.table.lanes:
            rows = [row for row, by in enumerate(self.lanes) if by.bundle is not lane.bundle]
            if rows:
                found.append(Part(self, lane, None if len(rows) == self.rows else rows))
        return found


@dataclass(slots=True, eq=False)
class Part:
    """The rows of a work that one lane scores. indices None: all of them."""

    work: Work
    lane: Lane
    indices: list[int] | None
    vectors: np.ndarray[Any, Any] | None = None
    scores: list[float] | None = None
    error: str | None = None
    """Why its rows have no score, or must not be used."""
    status: int = 200
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.work.rows if self.indices is None else len(self.indices)

    def fail(self, status: int, error: str) -> None:
        """Note why the rows cannot be answered."""
        self.status, self.error = status, error
