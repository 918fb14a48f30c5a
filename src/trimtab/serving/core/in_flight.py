"""The rows of one request on their way through a batch. Made by gateway, filled by scoring, settled by scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from trimtab.serving.core.routing import ModelTable, Variant
from trimtab.serving.telemetry.traces import Stage

Entities = list[tuple[str, str]]


@dataclass(slots=True, eq=False, kw_only=True)
class InFlightRequest:
    """Some rows of one request, and what became of them."""

    table: ModelTable
    variants: list[Variant]
    """Of each row: the variant that answers it."""
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
    """Why another variant than the routed one answered."""
    tried: set[object] = field(default_factory=set)
    """Bundles that failed on its rows."""
    vectors: dict[tuple[object, ...], np.ndarray[Any, Any]] = field(default_factory=dict)
    """By the recipe of the bundles that share them."""
    scores: list[float] = field(default_factory=list)
    failure: tuple[int, str] | None = None
    """HTTP status and text, when the request is not answered."""
    done: asyncio.Future[None] | None = None
    chunks: Sequence[InFlightRequest] = ()
    """Of a long request: requests of some of its rows each, scored one after the other and logged together."""
    is_chunk: bool = False
    held: Sequence[RowGroup] = ()
    """Scored row groups, logged when all rows of the request are scored. Emptied then: they refer to this request."""
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

    def groups(self) -> list[RowGroup]:
        """Return one group for each variant that answers some of the rows."""
        first = self.variants[0]
        if self.rows == 1 or all(variant is first for variant in self.variants):
            return [RowGroup(self, first, None)]
        found: dict[Variant, list[int]] = {}
        for row, variant in enumerate(self.variants):
            found.setdefault(variant, []).append(row)
        return [RowGroup(self, variant, rows) for variant, rows in found.items()]

    def comparison_groups(self) -> list[RowGroup]:
        """Return the rows of each variant that did not answer them, and did not fail to."""
        variants = [variant for variant in self.table.variants if variant.bundle not in self.tried]
        if self.rows == 1 or len(variants) == 1:
            answering = self.variants[0].bundle
            return [
                RowGroup(self, variant, None, served=False) for variant in variants if variant.bundle is not answering
            ]
        found = []
        for variant in variants:
            rows = [row for row, by in enumerate(self.variants) if by.bundle is not variant.bundle]
            if rows:
                found.append(RowGroup(self, variant, None if len(rows) == self.rows else rows, served=False))
        return found


@dataclass(slots=True, eq=False)
class RowGroup:
    """The rows of a request that one variant scores. indices None: all of them."""

    request: InFlightRequest
    variant: Variant
    indices: list[int] | None
    served: bool = True
    """Whether its scores are the client's answer."""
    vectors: np.ndarray[Any, Any] | None = None
    scores: list[float] | None = None
    error: str | None = None
    """Why its rows have no score, or must not be used."""
    status: int = 200
    not_taken: bool = False
    """Whether a row holds a value that the variant's model does not take."""
    latency_us: int = 0
    instead_of: RowGroup | None = None
    """The group that this one answers for."""
    overdue: bool = False
    """Whether its client was answered without it, since it took too long."""
    is_request: bool = True
    """Whether it is counted as a request; of the groups of a long one, one a variant is."""
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.request.rows if self.indices is None else len(self.indices)

    @property
    def route(self) -> str:
        """How its rows came to this variant; those of a pinned version keep that whatever happens, and judge nobody."""
        if self.request.abandoned and self.request.route != "pinned":
            return "abandoned"
        return "fallback" if self.instead_of is not None else self.request.route

    @property
    def may_fall_back(self) -> bool:
        """Whether another variant may answer: after a failure, and for values that another champion takes."""
        if self.not_taken:
            return self.served and self.request.route == "split" and self.variant is not self.request.table.champion
        return self.status >= 500

    def row(self, index: int) -> int:
        """Return the place in the request of one of its rows."""
        return index if self.indices is None else self.indices[index]

    def settled(self, now_ns: int) -> None:
        """Note how long its rows took since they were received."""
        self.request.scored_ns = now_ns
        self.latency_us = (now_ns - self.request.received_ns) // 1000

    def put(self) -> None:
        """Put the scores in their places among the rows of the request."""
        request, scores = self.request, self.scores or []
        if self.indices is None:
            request.scores = scores
            if self.instead_of is not None:
                request.variants = [self.variant] * request.rows
            return
        if not request.scores:
            request.scores = [0.0] * request.rows
        for row, value in zip(self.indices, scores, strict=True):
            request.scores[row] = value
            request.variants[row] = self.variant

    def mark_late(self) -> None:
        """Note that its scores are nobody's answer. They came too late."""
        self.served = False
        self.overdue = True

    def fail(self, status: int, error: str) -> None:
        """Note why the rows cannot be answered."""
        self.status, self.error = status, error


Rows = TypeVar("Rows", InFlightRequest, RowGroup)


def fair_share(waiting: Sequence[Rows], most_rows: int) -> tuple[list[Rows], list[Rows]]:
    """Divide what waits: what is next, and the rest. Both in order of arrival.

    First come the oldest piece, so that each is taken at last, and the shortest others, at most `most_rows`: bulk
    requests of one client do not hold up short requests of others.
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


def take_rows(waiting: Sequence[Rows], most_rows: int) -> tuple[list[Rows], list[Rows]]:
    """Divide what waits: the first of it, of at most so many rows but at least one piece, and the rest."""
    rows = taken = 0
    for piece in waiting:
        if taken and rows + piece.rows > most_rows:
            break
        rows += piece.rows
        taken += 1
    return list(waiting[:taken]), list(waiting[taken:])
