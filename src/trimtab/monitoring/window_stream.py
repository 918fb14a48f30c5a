"""The windows of one model: open -> closed -> matured -> forgotten.

A window is closed when event time has passed its end by the allowed lateness, and matured when every prediction has
a label, or when event time has passed its end by `labels_mature_after`. It is judged on the labels known by
then. (Most of the labels are not enough: slow labels differ from quick ones, as late flights land later.)
Windows close, and mature, in order of time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.clock import Clock, from_micros
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.errors import DataError
from trimtab.llm.topics import TurnTopics
from trimtab.monitoring.closed import is_whole, judge_closed
from trimtab.monitoring.detector_states import DetectorStates
from trimtab.monitoring.detectors import VersionDetectors
from trimtab.monitoring.event_windows import Span, Windowing
from trimtab.monitoring.label_join import NEVER, LabelPool, Labels, WindowLabels
from trimtab.monitoring.matured import judge_matured, paired_gains
from trimtab.monitoring.open_windows import OpenWindows
from trimtab.monitoring.prediction_rows import (
    Scored,
    VersionRows,
    columns_of,
    requests_of,
    version_rows,
    versions_of,
)
from trimtab.monitoring.prompts.turn_features import with_texts
from trimtab.monitoring.prompts.turn_texts import TurnTexts
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.row_money import RowMoney, prices
from trimtab.monitoring.window_records import VersionWindow
from trimtab.monitoring.written_windows import read_written
from trimtab.policy.model import Policy
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.records.training import Bundle
from trimtab.stats.schemes import CategoryBins
from trimtab.stats.sequential import ENOUGH_WINDOWS
from trimtab.stats.smallest import Smallest
from trimtab.stores.metadata.contract import Metadata
from trimtab.tasks import RULES

log = logging.getLogger(__name__)

References = Callable[[str, int], Reference | None]
"""Returns the reference of a model's version, or None when its bundle has none."""
NoHarm = Callable[[str, datetime], str]
"""Returns why the labels of a model show no harm at an event time; empty when they do."""
Rebuild = Callable[[Sequence[WindowReport]], Reference]
"""Returns the reference of a version of a prompt that its own first windows make."""


@dataclass
class ClosedWindow:
    """A closed window that waits for its labels."""

    span: Span
    versions: dict[int, Scored]
    whole: dict[int, bool]
    reports: dict[int, WindowReport]
    labels: WindowLabels
    logged_from: int
    """Oldest `logged_at` of its rows, in microseconds."""


class WindowStream:
    """The windows of one model."""

    def __init__(
        self,
        model: str,
        policy: Policy,
        metadata: Metadata,
        references: References,
        clock: Clock,
        states: DetectorStates | None = None,
        impact_function: ImpactFunction | None = None,
        texts: TurnTexts | None = None,
        rebuild: Rebuild | None = None,
        no_harm: NoHarm = lambda model, at: "",
    ) -> None:
        """texts: of the turns, if the model is a prompt. rebuild: makes the reference of a version of a prompt of its
        own first windows."""
        self._rebuild, self._no_harm = rebuild, no_harm
        self._money = impact_function
        self._texts = texts
        self._states = states or DetectorStates(None)
        self._judged: list[int] = []
        """Versions of windows that were judged since the detectors were kept last."""
        self.model = model
        self._policy = policy
        self._metadata = metadata
        self._load = references
        self._clock = clock
        self._stored = read_written(metadata, model)
        decide = policy.decide
        self.matured_until = self._stored.matured_until
        """End of the newest matured window, microseconds since the epoch."""
        self.open = OpenWindows(Windowing(decide.window, decide.lateness), self._stored)
        self._waiting: deque[ClosedWindow] = deque()
        self._references: dict[int, Reference | None] = {}
        self._detectors: dict[int, VersionDetectors | None] = {}

    def accept(self, labels: Labels) -> Labels:
        """Give labels to the closed windows that wait for them; return the rest."""
        for window in self._waiting:
            if not len(labels):
                break
            mine = window.labels.accept(labels)
            labels = labels.take(~mine) if mine.any() else labels
        return labels

    def forget_judged(self, pool: LabelPool) -> None:
        """Leave out the labels of rows that were read again although their windows are judged."""
        if (ids := self.open.take_judged()) is not None:
            pool.discard(self.model, ids)

    @property
    def claimed(self) -> Iterator[Labels]:
        """The labels of closed windows that are not judged yet."""
        for window in self._waiting:
            yield from window.labels.parts

    def close_windows(self, pool: LabelPool) -> Iterator[tuple[Record, ...]]:
        """Close every window that has all its rows; yield the records of each."""
        while (found := self.open.next_closed(self._min_rows)) is not None:
            records = self._close(*found, pool)
            self.open.forget(found[0])
            if records:
                yield tuple(records)

    def mature_windows(self) -> Iterator[tuple[Record, ...]]:
        """Judge every closed window whose labels matured; yield the records of each."""
        while self._waiting and (matured_at := self._matured_at(self._waiting[0])) <= self.open.watermark:
            self._prepare(self._waiting[0].versions)
            self._judged += self._waiting[0].versions
            yield tuple(self._mature(self._waiting.popleft(), matured_at))

    def keep_detectors(self) -> None:
        """Write the state of the detectors every few windows. Call it when all records are written."""
        for version in self._judged:
            if (detectors := self._detectors_of(version)) is not None:
                self._states.keep(detectors, self._metadata, self.model, version)
        self._judged.clear()

    @property
    def needs_labels_from(self) -> int:
        """Labels known before this time belong to no prediction that is still to come."""
        size, lateness = self.open.windowing.size, self.open.windowing.lateness
        return min(self.open.oldest, self.open.watermark - lateness) - size

    @property
    def logged_from(self) -> tuple[int, int]:
        """Oldest `logged_at` of the rows of open windows, and of those that a new process reads again; NEVER without
        any."""
        opened = self.open.logged_from
        return opened, min((window.logged_from for window in self._waiting), default=opened)

    @property
    def rows_kept(self) -> int:
        """Rows in memory: of open windows, and of closed ones that wait for labels."""
        return self.open.rows + sum(s.rows for window in self._waiting for s in window.versions.values())

    def _learn(self, versions: Iterable[int]) -> None:
        """Replace the references of versions that have served enough windows, and had answers to examples alone."""
        for version in versions:
            reference = self._reference(version)
            if self._rebuild is None or reference is None or reference.made_of != "examples":
                continue
            first = self._metadata.find(
                WindowReport,
                limit=ENOUGH_WINDOWS,
                oldest_first=True,
                model=self.model,
                version=version,
                stage="closed",
            )
            if len(first) == ENOUGH_WINDOWS:
                self._references[version] = self._rebuild(first)
                self._detectors.pop(version, None)

    def _close(self, span: Span, table: pa.Table, pool: LabelPool) -> list[Record]:
        stored = self._stored.closed.get(span.start)
        requests, versions = requests_of(table), versions_of(table)
        limits = {v: r.rows for v, r in stored.items() if v in versions} if stored else dict.fromkeys(versions)
        if stored is None:
            self._learn(limits)
        self._prepare(limits)
        self._stored.closed.pop(span.start, None)
        if stored and any(versions.get(v, 0) < r.rows for v, r in stored.items()):
            log.warning("%s: rows of the window from %s are gone from the log", self.model, from_micros(span.start))
        if not limits:
            return []
        rows = {}
        for version, limit in limits.items():
            reference = self._reference(version)
            classes = 0 if reference is None else len(reference.classes)
            own = version_rows(table, version, requests=requests, limit=limit, classes=classes)
            rows[version] = self._with_columns(self._with_texts(own))
        records: list[Record] = []
        if stored is None:
            for version, own in rows.items():
                records += self._judge_closed(span, version, own)
        reports = stored or {r.version: r for r in records if isinstance(r, WindowReport)}
        window = ClosedWindow(
            span=span,
            versions={version: own.scored for version, own in rows.items()},
            whole={version: is_whole(own) for version, own in rows.items()},
            reports=dict(reports),
            labels=WindowLabels(
                self.model, pc.unique(pa.concat_arrays([own.scored.label_ids for own in rows.values()]))
            ),
            logged_from=pc.min(table["logged_at"]).cast(pa.int64()).as_py(),
        )
        pool.give_to(window.labels)
        self._waiting.append(window)
        return records

    def _with_texts(self, rows: VersionRows) -> VersionRows:
        if self._texts is None:
            return rows
        version, ids = rows.scored.version, rows.scored.ids.to_pylist()
        texts, reference = self._texts.of(self.model, version, ids), self._reference(version)
        self._texts.forget(self.model, version, ids)
        topics = None if reference is None else reference.topics
        models = () if reference is None else reference.category_names.get("model_reported", ())
        found = with_texts(rows, texts, topics or TurnTopics(), models)
        return replace(found, scored=found.scored.by_answer())

    def _with_columns(self, rows: VersionRows) -> VersionRows:
        reference = self._reference(rows.scored.version)
        if reference is None or not (reference.segments or self._money):
            return rows
        names = reference.names
        categories = [n for n in names if isinstance(reference.schemes[n], CategoryBins)] if reference.segments else []
        inputs = self._money.inputs if self._money is not None else ()
        found = columns_of(rows, names, {*categories, *inputs})
        scored = replace(
            rows.scored,
            categories={name: found[name] for name in categories},
            inputs={name: values for name, values in found.items() if name in inputs},
        )
        return replace(rows, scored=scored)

    def _prepare(self, versions: Iterable[int]) -> None:
        """Load the detectors before anything changes: where a store fails, the next step tries again."""
        for version in versions:
            self._detectors_of(version)

    def _judge_closed(self, span: Span, version: int, rows: VersionRows) -> list[Record]:
        reference, detectors = self._reference(version), self._detectors_of(version)
        costs = prices(self._policy.impact, reference.task, self._money) if reference is not None else None
        window = self._version_window(span, version)
        own = self._row_money(rows.scored, reference)
        return judge_closed(window, rows, reference, detectors, self._policy.prices, costs, own)

    def _matured_at(self, window: ClosedWindow) -> int:
        due = window.span.end + self._policy.decide.labels_mature_after
        complete = window.labels.complete_at
        return due if complete == NEVER else min(due, max(window.span.end + self._policy.decide.lateness, complete))

    def _mature(self, window: ClosedWindow, matured_at: int) -> list[Record]:
        self.matured_until = window.span.end
        known, not_counted = window.labels.known_by(matured_at)
        if not_counted:
            log.info(
                "%s: %d labels do not count: each is neither a finite number nor a class, or was replaced by a label "
                "known later",
                self.model,
                not_counted,
            )
        labels: dict[int, npt.NDArray[np.float64]] = {}
        unknown: dict[int, dict[str, int]] = {}
        for version, scored in window.versions.items():
            reference = self._reference(version)
            classes = () if reference is None else reference.classes
            labels[version], unknown[version] = known.of(_places_in(window.labels.ids, scored), classes)
        records: list[Record] = []
        for version, scored in window.versions.items():
            reference = self._reference(version)
            records += judge_matured(
                self._version_window(window.span, version),
                scored,
                labels[version],
                window.reports[version],
                reference=reference,
                detectors=self._detectors_of(version) if window.whole[version] else None,
                policy=self._policy.impact,
                days=window.span.days(self._policy.decide.window),
                paired=self._paired(window, scored, labels, reference),
                metric=self._policy.rollout.promote_when.metric,
                own=self._row_money(scored, reference),
                unknown=unknown[version],
                no_harm=self._no_harm(self.model, from_micros(window.span.end)),
            )
        return records

    def _paired(
        self,
        window: ClosedWindow,
        scored: Scored,
        labels: Mapping[int, npt.NDArray[np.float64]],
        reference: Reference | None,
    ) -> Mapping[str, float]:
        champion = next((s for s in window.versions.values() if s.role == "champion"), None)
        compared = window.whole[scored.version] or self._texts is not None  # the shadow of a prompt answers a sample
        if reference is None or champion is None or scored.role == "champion" or not compared:
            return {}
        theirs = self._reference(champion.version)
        if theirs is None and RULES[reference.task].by_class:
            return {}  # the order of its probabilities is not known
        return paired_gains(
            champion,
            scored,
            labels[scored.version],
            champion_label=labels[champion.version],
            classes=(reference.classes, () if theirs is None else theirs.classes),
            task=reference.task,
            threshold=reference.threshold,
            champion_threshold=self._threshold(champion.version),
            metric=self._policy.rollout.promote_when.metric_for(reference.task),
            costs=prices(self._policy.impact, reference.task, self._money),
            own=self._row_money(scored, reference),
        )

    def _row_money(self, scored: Scored, reference: Reference | None) -> RowMoney | None:
        if reference is None:
            return None
        names, classes = reference.category_names, reference.classes
        return RowMoney.of(self._money, scored.inputs, names=names, classes=classes)

    def _threshold(self, version: int) -> float | None:
        """Return the threshold of a version; None where it is not known."""
        if (reference := self._reference(version)) is not None:
            return reference.threshold
        found = self._metadata.find(Bundle, model=self.model, version=version)
        return found[0].threshold if found else None

    def _version_window(self, span: Span, version: int) -> VersionWindow:
        return VersionWindow(model=self.model, version=version, span=span, now=self._clock.now())

    def _min_rows(self, version: int) -> float:
        reference = self._reference(version)
        return reference.min_rows if reference is not None else 1.0

    def _reference(self, version: int) -> Reference | None:
        if version not in self._references:
            try:
                self._references[version] = self._load(self.model, version)
            except DataError as error:  # one broken bundle does not stop the monitor
                log.error("%s version %d: inputs are not compared: %s", self.model, version, error)
                self._references[version] = None
        return self._references[version]

    def _detectors_of(self, version: int) -> VersionDetectors | None:
        """Return the detectors of a version, brought to where the stored records end."""
        if version not in self._detectors:
            reference, window = self._reference(version), self._policy.decide.window
            detectors = None
            if reference is not None and reference.window == window:
                detectors = VersionDetectors(
                    reference,
                    version=version,
                    horizon=self._policy.decide.horizon,
                    smallest=Smallest(**self._policy.decide.smallest_drift.model_dump()),
                    mode=self._policy.decide.reference,
                    segments=self._policy.decide.segments,
                )
                self._states.restore(detectors, self._metadata, self.model, version)
            elif reference is not None:
                log.warning(
                    "%s version %d: its reference has windows of %d us, the policy of %d us; inputs are not compared "
                    "until it is trained again",
                    self.model,
                    version,
                    reference.window,
                    window,
                )
            self._detectors[version] = detectors
        return self._detectors[version]


def _places_in(ids: pa.StringArray, scored: Scored) -> npt.NDArray[np.int64]:
    """Return the place of each row of a version among some ids."""
    found: npt.NDArray[np.int64] = pc.index_in(scored.label_ids, value_set=ids).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)
