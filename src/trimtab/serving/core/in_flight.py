"""The rows of one request on their way through a turn. Made by gateway, filled by scoring, settled by desk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from trimtab.serving.core.routing import Lane, ModelTable
from trimtab.serving.telemetry.traces import Stage

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
    route: Literal["split", "pinned"] = "split"
    first_row: int = 0
    """Place of its first row in the request, of a piece of a long one."""
    rows: int = field(init=False)
    begun_ns: int = 0
    """When its features were begun, time.perf_counter_ns; 0 when they were not."""
    vectorized_ns: int = 0
    scored_ns: int = 0
    pending: int = 0
    """Parts that are not settled yet."""
    reserved_rows: int = 0
    """Rows that are counted as waiting until it is answered."""
    answered: bool = False
    fallback: str | None = None
    """Why another lane than the routed one answered."""
    tried: set[object] = field(default_factory=set)
    """Bundles that failed on its rows."""
    vectors: dict[tuple[object, ...], np.ndarray[Any, Any]] = field(default_factory=dict)
    """By the recipe of the bundles that share them."""
    scores: list[float] = field(default_factory=list)
    failure: tuple[int, str] | None = None
    """HTTP status and text, when the request is not answered."""
    done: asyncio.Future[None] | None = None
    chunks: Sequence[Work] = ()
    """Of a long request: works of some of its rows each, scored one after the other and logged together."""
    is_chunk: bool = False
    held: Sequence[Part] = ()
    """Parts that are scored, and logged when all rows of the request are. Emptied then: they refer to this work."""
    written: bool = False
    """Whether its rows were handed to the log as its client's answer."""
    abandoned: bool = False
    """Whether its client got an answer without it, or is gone."""

    def __post_init__(self) -> None:
        self.rows = len(self.ids)

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.abandoned or (self.done is not None and self.done.cancelled())

    def stages(self, answered_ns: int) -> list[Stage]:
        """Return what it went through, for a trace."""
        begun = self.begun_ns or self.received_ns
        vectorized = self.vectorized_ns or begun
        scored = self.scored_ns or vectorized
        return [
            Stage("features", begun, vectorized),
            Stage("score", vectorized, scored),
            Stage("log", scored, answered_ns),
        ]

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
        """Return the rows of each lane that did not answer them, and did not fail to."""
        lanes = [lane for lane in self.table.lanes if lane.bundle not in self.tried]
        if self.rows == 1 or len(lanes) == 1:
            answering = self.lanes[0].bundle
            return [Part(self, lane, None, served=False) for lane in lanes if lane.bundle is not answering]
        found = []
        for lane in lanes:
            rows = [row for row, by in enumerate(self.lanes) if by.bundle is not lane.bundle]
            if rows:
                found.append(Part(self, lane, None if len(rows) == self.rows else rows, served=False))
        return found


@dataclass(slots=True, eq=False)
class Part:
    """The rows of a work that one lane scores. indices None: all of them."""

    work: Work
    lane: Lane
    indices: list[int] | None
    served: bool = True
    """Whether its scores are the client's answer."""
    vectors: np.ndarray[Any, Any] | None = None
    scores: list[float] | None = None
    error: str | None = None
    """Why its rows have no score, or must not be used."""
    status: int = 200
    not_taken: bool = False
    """Whether a row holds a value that the lane's model does not take."""
    latency_us: int = 0
    instead_of: Part | None = None
    """The part that this one answers for."""
    overdue: bool = False
    """Whether its client was answered without it, since it took too long."""
    is_request: bool = True
    """Whether it is counted as a request; of the parts of a long one, one a lane is."""
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.work.rows if self.indices is None else len(self.indices)

    @property
    def route(self) -> str:
        """How its rows came to this lane; those of a pinned version keep that whatever happens, and judge nobody."""
        if self.work.abandoned and self.work.route != "pinned":
            return "abandoned"
        return "fallback" if self.instead_of is not None else self.work.route

    @property
    def may_fall_back(self) -> bool:
        """Whether another lane may answer: after a failure, and for values that another champion takes."""
        if self.not_taken:
            return self.served and self.work.route == "split" and self.lane is not self.work.table.champion
        return self.status >= 500

    def row(self, index: int) -> int:
        """Return the place in the work of one of its rows."""
        return index if self.indices is None else self.indices[index]

    def settled(self, now_ns: int) -> None:
        """Note how long its rows took since they were received."""
        self.work.scored_ns = now_ns
        self.latency_us = (now_ns - self.work.received_ns) // 1000

    def put(self) -> None:
        """Put the scores in their places among the rows of the work."""
        work, scores = self.work, self.scores or []
        if self.indices is None:
            work.scores = scores
            if self.instead_of is not None:
                work.lanes = [self.lane] * work.rows
            return
        if not work.scores:
            work.scores = [0.0] * work.rows
        for row, value in zip(self.indices, scores, strict=True):
            work.scores[row] = value
            work.lanes[row] = self.lane

    def disown(self) -> None:
        """Note that its scores are nobody's answer. They came too late."""
        self.served = False
        self.overdue = True

    def fail(self, status: int, error: str) -> None:
        """Note why the rows cannot be answered."""
        self.status, self.error = status, error


Rows = TypeVar("Rows", Work, Part)


def fair_share(waiting: Sequence[Rows], most_rows: int) -> tuple[list[Rows], list[Rows]]:
    """Divide what waits: what is next, and the rest. Both in order of arrival.

    Next are the oldest piece, so that each has its turn in the end, and the shortest others, at most so many rows: what
    one client sends in bulk does not keep the short requests of others waiting.
    """
    if len(waiting) < 2 or sum([piece.rows for piece in waiting]) <= most_rows:
        return list(waiting), []
    taken, rows = {0}, 0
    for place in sorted(range(1, len(waiting)), key=lambda place: waiting[place].rows):
        rows += waiting[place].rows
        if rows > most_rows:
            break
        taken.add(place)
    rest = [piece for place, piece in enumerate(waiting) if place not in taken]
    return [waiting[place] for place in sorted(taken)], rest


def some(waiting: Sequence[Rows], most_rows: int) -> tuple[list[Rows], list[Rows]]:
    """Divide what waits: the first of it, of at most so many rows but at least one piece, and the rest."""
    rows = taken = 0
    for piece in waiting:
        if taken and rows + piece.rows > most_rows:
            break
        rows += piece.rows
        taken += 1
    return list(waiting[:taken]), list(waiting[taken:])
