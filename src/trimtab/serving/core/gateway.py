"""The gateway: turns neutral requests of any protocol into neutral responses.

Lives on one event loop. What serves is one immutable table; `swap` replaces it between two requests, and
requests that are under way end with the table they began with.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from trimtab import timestamps
from trimtab.bundle.spec import Spec
from trimtab.clock import Clock, to_micros
from trimtab.errors import UsageError
from trimtab.metric_catalog import CHAT
from trimtab.serving.core.batching import BATCH_ROWS, BatchScheduler
from trimtab.serving.core.column_checks import Expectations
from trimtab.serving.core.column_errors import check_absent, check_timestamp
from trimtab.serving.core.conformal import check, intervals
from trimtab.serving.core.explaining import Explanations
from trimtab.serving.core.feature_reader import FeatureReader
from trimtab.serving.core.feedback import Label
from trimtab.serving.core.in_flight import Entities, InFlightRequest
from trimtab.serving.core.offloading import Decoding
from trimtab.serving.core.pushing import Pushes
from trimtab.serving.core.repository import Repository
from trimtab.serving.core.routing import ModelTable, RoutingTable, Variant, key_text
from trimtab.serving.core.scoring import vectorize
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.inbox import Inbox
from trimtab.serving.requests import Explanation, InferenceRequest, InferenceResponse, Refused, check_id, shown
from trimtab.serving.telemetry.traces import current
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import PREDICTION_FIELDS, Predictions
from trimtab.stores.predictions.label_rule import source
from trimtab.tasks import RULES

IDS_AT_ONCE = 256


class Gateway:
    """Answers, logs, and takes labels for all models of a project."""

    def __init__(
        self,
        predictions: Predictions,
        clock: Clock,
        options: WorkerOptions | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.options = options or WorkerOptions()
        self.table = RoutingTable()
        self.metrics = metrics or Metrics(clock=clock)
        self.repository = Repository(lambda: self.table)
        self._predictions = predictions
        self.clock = clock
        self._ids = Ids()
        self.decoding = Decoding()
        self._preparing = asyncio.Lock()
        """Held while rows of a long request are prepared."""
        self._scheduler = BatchScheduler(predictions, clock, self.metrics, self.options)
        self._expecting = Expectations(self.options.checks, self.metrics)
        self._explanations = Explanations(predictions, self.options.trust)
        self.journal = self._scheduler.journal
        self.kpis: Inbox | None = None
        """Takes points of KPIs; None where no loop reads them."""
        self.pushes: Pushes | None = None
        """Takes rows of sources; None where no table gets them."""
        self.retrainings: Inbox | None = None
        """Takes requests to retrain; None where no loop reads them."""
        self.triggers: Inbox | None = None
        """Takes events of triggers; None where no loop reads them."""
        self.is_steered: Callable[[], bool] = lambda: False
        """Returns True while a loop runs, which acts on what is sent."""
        self.features: FeatureReader | None = None
        """Reads features by name; None where no project is served."""
        self.draining = False
        """Whether it takes requests, but wants others to get them: it ends soon."""
        self.on_swap: list[Callable[[], object]] = []

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.table.ready and not self.draining

    def open(self) -> None:
        """Become the writer of the prediction log. Raises StoreError when another process is."""
        self._predictions.append(dict.fromkeys(PREDICTION_FIELDS, ()))

    def swap(self, table: RoutingTable) -> None:
        """Serve by another table from the next request on."""
        self.table = table
        bundles = [bundle for model in table.models.values() for bundle in model.bundles]
        self._scheduler.keep(bundles)
        self._explanations.keep(bundles)
        for tell in self.on_swap:
            tell()

    def settle(self) -> None:
        """Score and log everything that waits, comparisons included."""
        self._scheduler.flush()
        self._expecting.flush()

    def close(self) -> None:
        """Settle what waits and close the prediction log."""
        self._scheduler.close()
        self._explanations.close()
        if self.pushes is not None:
            self.pushes.close()
        self.decoding.close()
        self._predictions.close()

    async def infer(
        self, model: str | None, version: str | None, request: InferenceRequest, received_ns: int
    ) -> InferenceResponse:
        """Score and log the rows of a request; return when they are in the log. Raises Refused."""
        table = self.table.model(model)
        pinned = table.variant(version)
        if not request.rows:
            raise Refused(400, "the request has no rows")
        if request.rows > self.options.max_rows:
            raise Refused(
                413, f"the request has {request.rows} rows; this gateway takes {self.options.max_rows} at once"
            )
        if request.explain and request.rows > BATCH_ROWS:
            raise Refused(400, f"explanations are made of at most {BATCH_ROWS} rows at once")
        request_id = check_id(request.request_id) if request.request_id is not None else self._ids.new()
        if request.rows <= BATCH_ROWS:
            in_flight = self._in_flight(table, pinned, request, request_id, received_ns)
            if request.explain:
                await self._explanations.check(in_flight.variants)
            try:
                await self._scheduler.submit(in_flight)
            except asyncio.CancelledError:  # its time is over, or its client is gone
                self._scheduler.abandon(in_flight)
                raise
            _raise_failure(in_flight)
            response = _response(in_flight, request_id)
            self._expecting.note(table.champion.bundle, request.columns, request.rows)
        else:
            in_flight = await self._in_batches(table, pinned, request, request_id, received_ns)
            _raise_failure(in_flight)
            response = await self.decoding.run(_response, in_flight, request_id)
            for chunk in in_flight.chunks:
                self._expecting.note(table.champion.bundle, chunk.columns, chunk.rows)
        if (trace := current.get()) is not None:
            trace.note(response, in_flight.stages(time.perf_counter_ns()))
        if request.coverage is not None:
            response.lower, response.upper = intervals(in_flight, request.coverage)
        if request.explain:
            response.explanation = await self._explanations.of(in_flight)
        return response

    async def explain(self, model: str, prediction_id: str) -> Explanation:
        """Explain an earlier prediction by its row in the log. Raises Refused (404 when there is none)."""
        return await self._explanations.by_id(self.table.model(model), prediction_id)

    async def feedback(self, model: str, labels: Sequence[Label]) -> int:
        """Log the labels of earlier predictions; return how many when they are safe. Raises Refused."""
        table = self.table.model(model)
        now = to_micros(self.clock.now())
        classes = table.classes
        for label in labels:
            label.check(table.spec.task, classes)
        by_class = RULES[table.spec.task].by_class
        columns: dict[str, Sequence[Any]] = {
            "prediction_id": [label.id for label in labels],
            "model": [model] * len(labels),
            "label": [None if by_class else label.label for label in labels],
            "known_at": [now if label.known_at is None else label.known_at for label in labels],
            "received_at": [now] * len(labels),
        }
        if by_class:
            columns["class_name"] = [label.label for label in labels]
        if table.spec.task == CHAT:
            names = [label.name or "" for label in labels]
            columns |= {"name": names, "source": list(map(source, names)), "rater": [label.rater for label in labels]}
        try:
            await self.journal.labels(columns)
        except UsageError as error:
            raise Refused(404, str(error)) from error
        except Exception as error:  # of any backend: nothing may be acknowledged
            raise Refused(503, f"the labels could not be logged: {error}") from error
        self.metrics.counts.labels += len(labels)
        return len(labels)

    def _event_times(self, request: InferenceRequest, spec: Spec, start: int = 0) -> list[int]:
        column = spec.timestamp
        given = request.columns.get(column)
        if given is None:
            check_timestamp(spec, request.columns)
            return [self._scheduler.now()] * request.rows
        now = self._scheduler.now()
        return [now if value is None else _event_time(value, column, row) for row, value in enumerate(given, start)]

    def _in_flight(
        self,
        table: ModelTable,
        pinned: Variant | None,
        request: InferenceRequest,
        request_id: str,
        received_ns: int,
        start: int | None = None,
    ) -> InFlightRequest:
        """Return a request in flight, or the chunk of a long one that begins at row `start`. Raises Refused."""
        rows = request.rows
        variants = table.variants_of(request, request_id) if pinned is None else [pinned] * rows
        if request.absent:
            check_absent(request.absent, [variant.bundle.spec for variant in dict.fromkeys(variants)])
        if request.coverage is not None:
            check(variants, request.coverage)
        first = start or 0
        self._expecting.refuse(variants, request.columns, first)
        return InFlightRequest(
            table=table,
            variants=variants,
            columns=request.columns,
            features=request.features,
            ids=[request_id] if rows == 1 and start is None else [f"{request_id}/{first + row}" for row in range(rows)],
            at=self._event_times(request, table.spec, first),
            entities=_entities(request, table.spec.entity_keys),
            received_ns=received_ns,
            rows=rows,
            route="split" if pinned is None else "pinned",
            first_row=first,
            is_chunk=start is not None,
        )

    async def _in_batches(
        self, table: ModelTable, pinned: Variant | None, request: InferenceRequest, request_id: str, received_ns: int
    ) -> InFlightRequest:
        """Prepare and score a long request in several batches, others in between, and log it whole.

        One bad row fails all. Raises Refused.
        """
        admission = self._scheduler.admission
        admission.reserve_long(request.rows)
        try:
            chunks: list[InFlightRequest] = []
            for start in range(0, request.rows, BATCH_ROWS):
                async with self._preparing:  # one chunk in each pass of the event loop
                    chunk = self._in_flight(table, pinned, _part(request, start), request_id, received_ns, start)
                    vectorize(chunk.variants[0].bundle, chunk)
                    if chunk.outcome.failure is not None:
                        raise Refused(*chunk.outcome.failure)
                    chunks.append(chunk)
                    await asyncio.sleep(0)
            in_flight = _whole(request, chunks)
            try:
                for chunk in chunks:
                    await self._scheduler.submit(chunk)
                    if chunk.outcome.failure is not None:
                        break
                await self._scheduler.log(in_flight)
            except asyncio.CancelledError:  # its time is over, or its client has left
                self._scheduler.abandon(in_flight)
                raise
        finally:
            admission.release_long(request.rows)
        return in_flight


class Ids:
    """Random UUIDs (version 4) as 32 hex digits. Reads os.urandom in blocks of 256 ids."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def new(self) -> str:
        """Return an id."""
        if not self._left:
            text = os.urandom(16 * IDS_AT_ONCE).hex()
            self._left = [text[start : start + 32] for start in range(0, len(text), 32)]
        text = self._left.pop()
        return f"{text[:12]}4{text[13:16]}{'89ab'[int(text[16], 16) & 3]}{text[17:]}"


def _raise_failure(in_flight: InFlightRequest) -> None:
    if in_flight.outcome.failure is not None:
        raise Refused(*in_flight.outcome.failure)


def _part(request: InferenceRequest, start: int) -> InferenceRequest:
    """Return the rows of a long request from `start` on that are prepared and scored together."""
    end = min(start + BATCH_ROWS, request.rows)
    return InferenceRequest(
        end - start,
        {name: values[start:end] for name, values in request.columns.items()},
        None if request.features is None else request.features[start:end],
        coverage=request.coverage,
        absent=request.absent,
    )


def _whole(request: InferenceRequest, chunks: Sequence[InFlightRequest]) -> InFlightRequest:
    """Return the request in flight of a long request whose chunks are prepared."""
    first = chunks[0]
    return InFlightRequest(
        table=first.table,
        variants=[variant for chunk in chunks for variant in chunk.variants],
        columns=request.columns,
        features=request.features,
        ids=[name for chunk in chunks for name in chunk.ids],
        at=[micros for chunk in chunks for micros in chunk.at],
        entities=[each for chunk in chunks for each in chunk.entities],
        received_ns=first.received_ns,
        rows=request.rows,
        route=first.route,
        chunks=chunks,
    )


def _event_time(value: object, column: str, row: int) -> int:
    """Return an event time in microseconds. Raises Refused."""
    found = timestamps.micros(value)
    if found is not None:
        return found
    raise Refused(
        400,
        f"column '{column}', row {row}: {shown(value)} is not a timestamp{timestamps.hint(value)}; "
        f"{timestamps.EXPECTED}",
    )


def _entities(request: InferenceRequest, keys: Sequence[str]) -> list[Entities | None]:
    given = [(key, request.columns[key]) for key in keys if key in request.columns]
    if not given:
        return [None] * request.rows
    return [
        [(key, key_text(values[row])) for key, values in given if values[row] is not None] or None
        for row in range(request.rows)
    ]


def _response(in_flight: InFlightRequest, request_id: str) -> InferenceResponse:
    table, variants, outcome = in_flight.table, in_flight.answered_by, in_flight.outcome
    first = variants[0]
    mixed = len(variants) > 1 and any(variant is not first for variant in variants)
    spec = first.bundle.spec
    response = InferenceResponse(
        model=table.model,
        version=(table.champion if mixed else first).bundle.version,
        role="mixed" if mixed else first.role,
        revision=table.revision,
        request_id=request_id,
        prediction_ids=in_flight.ids,
        task=spec.task,
        scores=outcome.scores,
        labels=_decisions(in_flight) if RULES[spec.task].has_threshold else [],
        versions=[variant.bundle.version for variant in variants] if mixed else None,
        confidences=[max(score, 1.0 - score) for score in outcome.scores] if spec.task == "binary" else None,
        fallback=outcome.fallback,
    )
    if spec.classes:
        _name_classes(response, in_flight)
    return response


def _decisions(in_flight: InFlightRequest) -> list[int]:
    return [
        int(score >= variant.bundle.spec.threshold)
        for score, variant in zip(in_flight.outcome.scores, in_flight.answered_by, strict=True)
    ]


def _name_classes(response: InferenceResponse, in_flight: InFlightRequest) -> None:
    """Give a response the classes of the versions that answered, and the name of each row's class as its label.

    Versions may know different classes: those of the champion come first, and a row has the probability 0 of a class
    that its version does not know.
    """
    of_rows = [variant.bundle.spec.classes for variant in in_flight.answered_by]
    first = in_flight.table.spec.classes
    of_versions = sorted(dict.fromkeys(of_rows), key=lambda own: own != first)
    response.classes = classes = tuple(dict.fromkeys(name for own in of_versions for name in own))
    rows = in_flight.outcome.probabilities
    if rows is None:  # of a binary model
        response.labels = [own[label] for own, label in zip(of_rows, _decisions(in_flight), strict=True)]
        return
    response.labels = [own[row.index(max(row))] for own, row in zip(of_rows, rows, strict=True)]
    response.confidences = response.scores
    if len(of_versions) > 1:
        known = [dict(zip(own, row, strict=True)) for own, row in zip(of_rows, rows, strict=True)]
        rows = [[values.get(name, 0.0) for name in classes] for values in known]
    response.probabilities = rows
