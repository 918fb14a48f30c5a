"""Requests on their way to an answer: what was asked, what has become of it, and the rows that one variant scores.

`InFlightRequest` never changes. Only the methods of `RequestOutcome` and `RowGroup` assign their fields.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, Variant
from trimtab.serving.telemetry.traces import Stage

Entities = list[tuple[str, str]]
Vectors = np.ndarray[Any, Any]


class RequestOutcome(msgspec.Struct, eq=False):
    """What has become of one request."""

    variants: list[Variant] | None = None
    """Of each row: the variant that answered it; None when they are those that the rows were routed to."""
    scores: list[float] = []
    probabilities: list[list[float]] | None = None
    """Of each row: those of the classes of the variant that answered it; None unless the model is multiclass."""
    failure: tuple[int, str] | None = None
    """HTTP status and text, when the request is not answered."""
    fallback: str | None = None
    """Why another variant than the routed one answered."""
    tried: list[LoadedBundle] = []
    """Bundles that failed on its rows."""
    vectors: dict[tuple[object, ...], Vectors] = {}
    """By the recipe of the bundles that share them."""
    scored_groups: list[RowGroup] = []
    """Settled groups, until they are logged. Emptied then: they refer to the request."""
    pending: int = 0
    """Row groups that are not settled yet."""
    done: asyncio.Future[None] | None = None
    reserved_rows: int = 0
    """Rows that are counted as waiting until it is answered."""
    answered: bool = False
    logged: bool = False
    """Whether its rows were handed to the log as its client's answer."""
    abandoned: bool = False
    """Whether its client got an answer without it, or has left."""
    begun_ns: int = 0
    """When its features were begun, time.perf_counter_ns; 0 when they were not."""
    vectorized_ns: int = 0
    scored_ns: int = 0

    @property
    def unwanted(self) -> bool:
        """Whether no client waits for it any more."""
        return self.abandoned or (self.done is not None and self.done.cancelled())

    def submit(self, loop: asyncio.AbstractEventLoop, reserved_rows: int = 0) -> asyncio.Future[None]:
        """Return the future that `wake` completes."""
        self.reserved_rows = reserved_rows
        self.done = done = loop.create_future()
        return done

    def expect(self, groups: int) -> None:
        """Wait for so many row groups."""
        self.pending = groups

    def keep_vectors(self, bundle: LoadedBundle, vectors: Vectors) -> None:
        """Keep the vectors of all rows, for this bundle and those that share its recipe."""
        self.vectors[bundle.recipe] = vectors

    def exclude(self, bundle: LoadedBundle) -> None:
        """Ask a bundle that has failed on the rows no more."""
        self.tried.append(bundle)

    def vectorized(self, begun_ns: int, ended_ns: int) -> None:
        """Note when the features were made."""
        self.begun_ns, self.vectorized_ns = begun_ns, ended_ns

    def scored(self, now_ns: int) -> None:
        """Note when the newest group was settled."""
        self.scored_ns = now_ns

    def fail(self, status: int, error: str) -> None:
        """Refuse the request, unless it has failed before: the client gets the first failure."""
        self.failure = self.failure or (status, error)

    def fall_back(self, reason: str) -> None:
        """Note why another variant answers."""
        self.fallback = reason

    def add(self, group: RowGroup) -> bool:
        """Take over what a served group has come to; return whether it was the last one."""
        if group.error is not None:
            self.fail(group.status, group.error)
        if group.scores is not None:
            self._place(group, group.scores)
            if group.probabilities is not None:
                self._place_probabilities(group, group.probabilities.tolist())
        self.scored_groups.append(group)
        self.pending -= 1
        return not self.pending

    def join(self, chunks: Sequence[InFlightRequest]) -> None:
        """Take over what the chunks of a long request have come to."""
        self.variants = [variant for chunk in chunks for variant in chunk.answered_by]
        for chunk in chunks:
            found = chunk.outcome
            self.scores += found.scores
            if found.probabilities is not None:
                self.probabilities = (self.probabilities or []) + found.probabilities
            self.fallback = self.fallback or found.fallback
        self.join_failures(chunks)

    def join_failures(self, chunks: Sequence[InFlightRequest]) -> None:
        """Fail with the first chunk that failed."""
        for chunk in chunks:
            self.failure = self.failure or chunk.outcome.failure

    def to_log(self, groups: Sequence[RowGroup]) -> list[RowGroup]:
        """Return the groups that are logged as the client's answer; of a failed request no group is."""
        self.logged, self.scored_groups = True, []
        if self.failure is not None:
            for group in groups:
                if group.error is None:
                    group.replaced()
        return [group for group in groups if group.status != 400]

    def take_scored(self) -> list[RowGroup]:
        """Return the settled groups, and forget them."""
        groups, self.scored_groups = self.scored_groups, []
        return groups

    def abandon(self) -> None:
        """Note that the client has left, with no answer or an earlier one."""
        self.abandoned = self.answered = True

    def take_reserved(self) -> int:
        """Return the rows that are reserved, once: they are to be released."""
        rows, self.reserved_rows = self.reserved_rows, 0
        return rows

    def wake(self) -> None:
        """Let the client's task go on."""
        self.answered = True
        if self.done is not None and not self.done.done():
            self.done.set_result(None)

    def _place(self, group: RowGroup, scores: list[float]) -> None:
        request = group.request
        if group.indices is None:
            self.scores = scores
            if group.instead_of is not None:
                self.variants = [group.variant] * request.rows
            return
        if not self.scores:
            self.scores = [0.0] * request.rows
        for row, value in zip(group.indices, scores, strict=True):
            self.scores[row] = value
        if group.instead_of is not None:
            self.variants = list(request.answered_by)
            for row in group.indices:
                self.variants[row] = group.variant

    def _place_probabilities(self, group: RowGroup, rows: list[list[float]]) -> None:
        if group.indices is None:
            self.probabilities = rows
            return
        self.probabilities = self.probabilities or [[]] * group.request.rows
        for row, values in zip(group.indices, rows, strict=True):
            self.probabilities[row] = values


class InFlightRequest(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What one request asks, or one chunk of a long request."""

    table: ModelTable
    variants: list[Variant]
    """Of each row: the variant that it is routed to."""
    columns: Mapping[str, Sequence[Any]]
    features: Vectors | None
    ids: list[str]
    at: list[int]
    """Event time of each row, microseconds since the epoch."""
    entities: list[Entities | None]
    received_ns: int
    rows: int
    route: Literal["split", "pinned"] = "split"
    first_row: int = 0
    """Place of its first row in the request, of a chunk."""
    is_chunk: bool = False
    chunks: Sequence[InFlightRequest] = ()
    """Of a long request: its rows in pieces, which are scored one after the other and logged together."""
    outcome: RequestOutcome = msgspec.field(default_factory=RequestOutcome)

    @property
    def answered_by(self) -> list[Variant]:
        """Of each row: the variant that answered it; as routed until another one does."""
        return self.outcome.variants or self.variants

    def stages(self, answered_ns: int) -> list[Stage]:
        """Return the stages of its way, for a trace."""
        begun = self.outcome.begun_ns or self.received_ns
        vectorized = self.outcome.vectorized_ns or begun
        scored = self.outcome.scored_ns or vectorized
        return [
            Stage("features", begun, vectorized),
            Stage("score", vectorized, scored),
            Stage("log", scored, answered_ns),
        ]

    def groups(self) -> list[RowGroup]:
        """Return one group for each variant that some of the rows are routed to."""
        variants = self.variants
        first = variants[0]
        if self.rows == 1 or all(variant is first for variant in variants):
            return [RowGroup(self, first, None)]
        found: dict[Variant, list[int]] = {}
        for row, variant in enumerate(variants):
            found.setdefault(variant, []).append(row)
        return [RowGroup(self, variant, rows) for variant, rows in found.items()]

    def comparison_groups(self) -> list[RowGroup]:
        """Return for each variant the rows that it neither answered nor failed on."""
        variants = [variant for variant in self.table.variants if variant.bundle not in self.outcome.tried]
        answered_by = self.answered_by
        if self.rows == 1 or len(variants) == 1:
            answering = answered_by[0].bundle
            return [
                RowGroup(self, variant, None, served=False) for variant in variants if variant.bundle is not answering
            ]
        found = []
        for variant in variants:
            rows = [row for row, by in enumerate(answered_by) if by.bundle is not variant.bundle]
            if rows:
                found.append(RowGroup(self, variant, None if len(rows) == self.rows else rows, served=False))
        return found


class RowGroup(msgspec.Struct, eq=False):
    """The rows of a request that one variant scores, and what they have come to. indices None: all rows."""

    request: InFlightRequest
    variant: Variant
    indices: list[int] | None
    instead_of: RowGroup | None = None
    """The group that this one answers for."""
    served: bool = True
    """Whether its scores are the client's answer."""
    vectors: Vectors | None = None
    scores: list[float] | None = None
    probabilities: Vectors | None = None
    """float64 (rows, classes), of a multiclass model."""
    error: str | None = None
    """Why its rows have no score, or must not be used."""
    status: int = 200
    not_taken: bool = False
    """Whether a row holds a value that the variant's model does not take."""
    latency_us: int = 0
    overdue: bool = False
    """Whether its client was answered without it, since it took too long."""
    is_request: bool = True
    """Whether it is counted as a request; of the groups of a long one, one a variant is."""
    rows: int = 0

    def __post_init__(self) -> None:
        self.rows = self.request.rows if self.indices is None else len(self.indices)

    @property
    def route(self) -> str:
        """How its rows came to this variant; "pinned" stays, so that these rows are in no comparison of variants."""
        if self.request.outcome.abandoned and self.request.route != "pinned":
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

    def take_vectors(self) -> Vectors:
        """Take the vectors of its rows from those of the request; return them."""
        vectors = self.request.outcome.vectors[self.variant.bundle.recipe]
        self.vectors = vectors = vectors if self.indices is None else vectors[self.indices]
        return vectors

    def scored(self, scores: list[float]) -> None:
        """Take the scores of its rows."""
        self.scores = scores

    def give_probabilities(self, probabilities: Vectors) -> None:
        """Take the probabilities of the classes."""
        self.probabilities = probabilities

    def fail(self, status: int, error: str) -> None:
        """Note why the rows cannot be answered."""
        self.status, self.error = status, error

    def refuse(self, error: str) -> None:
        """Note that the model does not take a value of these rows: the client's fault, and no score."""
        self.status, self.error, self.not_taken, self.scores, self.probabilities = 400, error, True, None, None

    def explain(self, note: str) -> None:
        """Add to the error what the fallbacks came to."""
        if self.error is not None:
            self.error += note

    def settle(self, now_ns: int) -> None:
        """Note how long its rows took since they were received."""
        self.request.outcome.scored(now_ns)
        self.latency_us = (now_ns - self.request.received_ns) // 1000

    def timed(self, latency_us: int) -> None:
        """Note how long its rows took."""
        self.latency_us = latency_us

    def count(self, latency_us: int, *, is_request: bool) -> None:
        """Note how it is counted, of a long request."""
        self.latency_us, self.is_request = latency_us, is_request

    def replaced(self) -> None:
        """Note that its scores are not the client's answer."""
        self.served = False

    def mark_overdue(self) -> None:
        """Note that the client is answered without it, if a fallback can."""
        self.overdue = True

    def mark_late(self) -> None:
        """Note that it was scored after the client was answered: logged with served=False."""
        self.served = False
        self.overdue = True


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
