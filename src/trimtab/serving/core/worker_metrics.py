"""Counts of one worker: shown at /metrics, saved for the other workers of the gateway and for a successor.

The hot path only appends to lists and adds to integers; numpy sorts what was gathered into histograms when
FOLD_ROWS rows wait, when the counts are saved (once a second) and when they are shown.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.records.loop_pulse import PULSE, LoopPulse
from trimtab.records.stream_progress import PROGRESS, IngestionProgress, StreamProgress
from trimtab.serving.core.in_flight import RowGroup
from trimtab.serving.core.routing import Variant
from trimtab.serving.core.tally import Tallies, histogram
from trimtab.serving.telemetry.counts_folder import SnapshotFolder
from trimtab.serving.telemetry.exposition import expose
from trimtab.stats.gateway_counts import (
    LAG_BORDERS_S,
    LATENCY_BORDERS_US,
    ROWS_BORDERS,
    Durations,
    Snapshot,
    State,
    merge,
)

FOLD_ROWS = 4096
"""Bounds both the memory that waiting rows take and how long sorting them holds up a batch (some 0.1 ms)."""
SAVE_S = 1.0
FORGET_US = 8 * 86_400_000_000
"""A version that has scored nothing for so long is dropped from what is saved; a day earlier it is shown no more."""
PAGE_BYTES = resource.getpagesize()

logger = logging.getLogger(__name__)


class Metrics:
    """Counts since the gateway's folder was made; without a folder, since the start. Lives on one event loop.

    folder: where the workers of one gateway leave their counts for one another.
    worker: name of this one; no two processes that run at the same time may share it.
    tell_inputs: whether to tell how many different inputs got one and the same score.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        worker: str = "0",
        clock: Clock | None = None,
        tell_inputs: bool = False,
    ) -> None:
        self._folder = None if folder is None else SnapshotFolder(folder)
        self._streams = None if folder is None else folder.parent / PROGRESS
        self._pulse = None if folder is None else folder.parent / PULSE
        self._worker = worker
        self._clock = clock or SystemClock()
        self._tell_inputs = tell_inputs
        self._log_lag = 0.0
        self.in_progress = 0
        """Requests that were not answered yet."""
        self.streams = 0
        """Answers that are being streamed."""
        self.rows_waiting = 0
        """Rows that no batch has taken on yet."""
        self.view_ages: Callable[[], dict[str, float]] = dict
        """Returns how old the online values of each view in service are, in seconds."""
        self.troubles: dict[str, int] = {}
        """By model: 1 when it does not serve as its newest revision says, else 0."""
        self.resume()

    def resume(self) -> None:
        """Go on from what the predecessor of this name saved last; to be called before anything is counted.

        Again, when the predecessor has ended only after this object was made.
        """
        before = None if self._folder is None else self._folder.read(self._worker)
        self.counts = counts = before or Snapshot()
        """The sums, also of the predecessor. Fields without a method here are added to where they are counted."""
        counts.batches = counts.batches or [0] * (len(ROWS_BORDERS) + 1)
        counts.log_lags = counts.log_lags or [0] * (len(LAG_BORDERS_S) + 1)
        counts.first_tokens = counts.first_tokens or [0] * (len(LATENCY_BORDERS_US) + 1)
        self._cpu_before = counts.cpu_seconds
        self._tallies = Tallies(counts.variants, None if self._folder is None else self._folder.agree)
        self._durations: dict[str, list[int]] = {}
        self._waiting = 0

    def count_groups(self, groups: Sequence[RowGroup]) -> None:
        """Count the scored groups of one batch, answers and comparisons, each with its own latency."""
        variant: Variant | None = None
        served, tally, answered, total = True, None, 0, 0
        tell_inputs = self._tell_inputs
        for group in groups:
            if group.variant is not variant or group.served is not served or tally is None:
                variant, served = group.variant, group.served
                tally = self._tallies.of(variant, served)
            if group.is_request:
                tally.latencies.append(group.latency_us)
                if group.overdue and not served:
                    tally.late.append(group.latency_us)
            rows = group.rows
            total += rows
            if served:
                answered += rows
            tally.rows += rows
            if group.scores is not None:
                tally.scores += group.scores
                if tell_inputs:
                    tally.vectors.append(group.vectors if group.vectors is not None else np.empty((rows, 0)))
            if group.error is not None:
                tally.failed += group.is_request
                tally.errors += rows
        if answered:
            self.counts.batches[bisect_left(ROWS_BORDERS, answered)] += 1
            self.counts.batch_rows += answered
        self._waiting += total
        if self._waiting >= FOLD_ROWS:
            self._fold()

    def count_turn(self, variant: Variant, *, served: bool, latency_us: int, failed: bool) -> None:
        """Count what one version did in a turn of a prompt. failed: by a fault of the version."""
        tally = self._tallies.of(variant, served)
        tally.rows += 1
        tally.latencies.append(latency_us)
        tally.failed += failed
        tally.errors += failed
        self._waiting += 1
        if self._waiting >= FOLD_ROWS:
            self._fold()

    def count_chat(
        self, prompt: str, outcome: str, purpose: str, tokens: Mapping[str, int], cost: int, first_token_us: int | None
    ) -> None:
        """Count outcome, tokens and cost of a turn at one version. cost: in 1e-12 of the currency."""
        counts = self.counts
        counts.chat_turns[prompt, outcome] = counts.chat_turns.get((prompt, outcome), 0) + 1
        counts.chat_cost[prompt, purpose] = counts.chat_cost.get((prompt, purpose), 0) + cost
        for kind, count in tokens.items():
            counts.chat_tokens[prompt, kind] = counts.chat_tokens.get((prompt, kind), 0) + count
        if first_token_us is not None:
            counts.first_tokens[bisect_left(LATENCY_BORDERS_US, first_token_us)] += 1
            counts.first_token_seconds += first_token_us / 1e6

    def begin(self) -> None:
        """Note a request that came in."""
        self.in_progress += 1

    def end(self, protocol: str, status: int, received_ns: int) -> None:
        """Count a request that was answered.

        protocol: one of few names. received_ns: time.perf_counter_ns at its arrival.
        """
        self.in_progress -= 1
        key = (protocol, status)
        requests = self.counts.requests
        requests[key] = requests.get(key, 0) + 1
        took_us = (time.perf_counter_ns() - received_ns) // 1000
        waiting = self._durations.get(protocol)
        if waiting is None:
            waiting = self._durations[protocol] = []
        waiting.append(took_us)
        if len(waiting) >= FOLD_ROWS:
            self._fold()

    def refuse(self, status: int) -> None:
        """Count a request that was answered with an error status."""
        self.counts.refused[status] = self.counts.refused.get(status, 0) + 1

    def fall_back(self, model: str, reason: str, rows: int) -> None:
        """Count rows that another than the routed version answered. reason: one of few words."""
        key = (model, reason)
        self.counts.fallbacks[key] = self.counts.fallbacks.get(key, 0) + rows

    def rule_failed(self, model: str, reason: str, rows: int) -> None:
        """Count rows for which the declared rule gave nothing. reason: "request" lacks what it takes, or "rule"."""
        key = (model, reason)
        self.counts.rule_failures[key] = self.counts.rule_failures.get(key, 0) + rows

    def check(self, model: str, rows: int, outside: Mapping[str, int]) -> None:
        """Count rows whose request columns were checked. outside: rows with an unexpected value, by column."""
        self.counts.checked[model] = self.counts.checked.get(model, 0) + rows
        for column, count in outside.items():
            self.counts.outside[model, column] = self.counts.outside.get((model, column), 0) + count

    def flushed(self, lag_s: float) -> None:
        """Count a flush of the prediction log; `lag_s` from its oldest answer to its end, 0 when it went before."""
        self._log_lag = lag_s
        self.counts.log_lags[bisect_left(LAG_BORDERS_S, lag_s)] += 1
        self.counts.log_lag_seconds += lag_s

    def set_borders(self, model: str, borders: Sequence[float]) -> None:
        """Give the borders of a regression's score histogram, unless they are known; else its first scores do."""
        self._tallies.set_borders(model, borders)

    def snapshot(self) -> Snapshot:
        """Return this worker's counts; they are the living ones, so encode or merge them before going on."""
        self._fold()
        counts = self.counts
        counts.taken_at = to_micros(self._clock.now())
        counts.cpu_seconds = self._cpu_before + time.process_time()
        counts.state = State(
            1,
            self.in_progress,
            self.rows_waiting,
            self._log_lag,
            _resident_bytes(),
            self.troubles,
            self.view_ages(),
            self.streams,
        )
        return counts

    def save(self) -> None:
        """Leave the counts for the other workers, and for a successor."""
        self._write(self.snapshot())

    async def keep_saving(self) -> None:
        """Save once a second until cancelled."""
        while True:
            await asyncio.sleep(SAVE_S)
            self.save()

    def close(self) -> None:
        """Save the sums for a successor, without the state of this process."""
        last = self.snapshot()
        last.state = State()
        self._write(last)

    def merged(self) -> Snapshot:
        """Return the counts of all workers, this one's as they are now. What is shown is saved, so it never falls."""
        own = self.snapshot()
        if self._folder is None:
            return merge([own])
        self._write(own)
        return merge([own, *self._folder.others(self._worker)], now=own.taken_at)

    def expose(self, accept: str | None = None) -> tuple[bytes, bytes]:
        """Return all workers' counts for Prometheus, and their content type; `accept` may ask for OpenMetrics."""
        return expose(self.merged(), accept or "", self._stream_progress(), self._loop_pulse())

    def _stream_progress(self) -> Sequence[StreamProgress]:
        """Return how far streams are; none without a process that reads them."""
        if self._streams is None:
            return ()
        try:
            return msgspec.json.decode(self._streams.read_bytes(), type=IngestionProgress).streams
        except (OSError, msgspec.DecodeError):
            return ()

    def _loop_pulse(self) -> LoopPulse | None:
        """Return what the loop has come to; None without one that runs."""
        if self._pulse is None:
            return None
        try:
            return msgspec.json.decode(self._pulse.read_bytes(), type=LoopPulse)
        except (OSError, msgspec.DecodeError):
            return None

    def text(self) -> str:
        """Return all workers' counts in Prometheus' text exposition format 0.0.4."""
        return self.expose()[0].decode()

    def _fold(self) -> None:
        self._waiting = 0
        self._tallies.fold(to_micros(self._clock.now()))
        for protocol, waiting in self._durations.items():
            if waiting:
                own = self.counts.durations.setdefault(protocol, Durations(counts=[0] * (len(LATENCY_BORDERS_US) + 1)))
                durations = np.array(waiting, dtype=np.float64)
                own.seconds += float(durations.sum()) / 1e6
                histogram(own.counts, LATENCY_BORDERS_US, durations)
                waiting.clear()

    def _write(self, snapshot: Snapshot) -> None:
        if self._folder is None:
            return
        self._tallies.forget(snapshot.taken_at - FORGET_US)
        try:
            self._folder.save(self._worker, snapshot)
        except OSError as error:  # a full disk must not stop the answers
            logger.warning("the counts cannot be saved: %s", error)


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):  # not Linux: the peak is the best that is known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
