"""Reads what the quarantine knows of a model's windows from the records of matured windows, once each.

The windows before service come from the reference of the first champion. Any version's profile of a window is of the
same inputs, so the champion's is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from trimtab.control.window_facts import MIN_ROWS, Before, WindowFacts, merged
from trimtab.errors import NotFound
from trimtab.metric_catalog import METRICS, headline
from trimtab.records.control import Suspicion
from trimtab.records.monitoring import Profile, WindowReport, is_output
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stats.correlations import ENTRY as CORRELATIONS
from trimtab.stats.profile import ColumnProfile
from trimtab.stores.metadata.contract import Metadata, newest_until

STARTS_A_QUERY = 300
"""Windows whose profiles are looked up together."""


def column_facts(columns: Mapping[str, ColumnProfile]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the means and the missing shares of the input columns of a window; outputs differ between versions."""
    inputs = {name: c for name, c in columns.items() if name != CORRELATIONS and not is_output(name) and c.n}
    means = {name: column.mean for name, column in inputs.items() if column.kind == "ordered"}
    return means, {name: column.missing / column.n for name, column in inputs.items()}


def loss_of(metrics: Mapping[str, float]) -> float | None:
    """Return the loss of a window by its metrics; None when there is none."""
    found = headline(metrics)
    if found is None:
        return None
    name, value = found
    if METRICS[name].higher_is_better:  # of an anomaly model, whose scores have no loss
        return sum(metrics.get(f"{kind}_mean", 0.0) for kind in ("false_negative", "false_positive"))
    return value**2 if name == "rmse" else value


class WindowHistory:
    """The windows of one model, each read once."""

    def __init__(self, metadata: Metadata, model: str, before: Before = tuple) -> None:
        self._metadata = metadata
        self._model = model
        self._before = before
        self._known: list[WindowFacts] | None = None
        self._newest: str | None = None
        """Id of the newest report that was read."""
        self._datasets: dict[int, DatasetVersion | None] = {}

    def until(self, end: datetime, suspicions: Sequence[Suspicion]) -> list[WindowFacts]:
        """Return the windows that ended by `end`, oldest first, small ones merged.

        suspicions: all of the model, from which follows whose loss counts.
        """
        self._read(suspicions)
        return merged(w for w in self._known or () if w.end <= end)

    def _read(self, suspicions: Sequence[Suspicion]) -> None:
        newest = self._newest
        where = {"model": self._model, "stage": "matured"}
        found = newest_until(self._metadata, WindowReport, lambda r: r.id == newest, **where)
        if self._known is None:
            self._known = []
            first = min((r.start for r in found), default=None)
            self._known += [w for w in self._before() if first is None or w.end <= first]
        if not found:
            return
        self._newest = found[0].id
        by_start: dict[datetime, list[WindowReport]] = {}
        for report in sorted(found, key=lambda r: (r.start, r.version)):
            by_start.setdefault(report.start, []).append(report)
        profiles = self._profiles(by_start)
        for start, reports in by_start.items():
            means, missing = profiles.get(start, ({}, {}))
            judged = self._judged(reports, suspicions)
            self._known.append(
                WindowFacts(
                    start=start,
                    end=reports[0].end,
                    rows=max(r.rows for r in reports),
                    means=means,
                    missing=missing,
                    loss=loss_of(judged.metrics) if judged else None,
                    labelled=judged.labelled if judged else 0,
                )
            )
        self._known.sort(key=lambda w: w.start)

    def _profiles(self, starts: Mapping[datetime, Sequence[WindowReport]]) -> dict[datetime, Any]:
        """Return the facts of the columns by window, of the champion's profile where there is one."""
        served = {(r.start, r.version) for reports in starts.values() for r in reports if r.role == "champion"}
        wanted = tuple(starts)
        found: dict[datetime, Profile] = {}
        for first in range(0, len(wanted), STARTS_A_QUERY):
            some = wanted[first : first + STARTS_A_QUERY]
            for profile in self._metadata.find(Profile, model=self._model, start=some):
                before = found.get(profile.start)
                if before is None or _rank(profile, served) > _rank(before, served):
                    found[profile.start] = profile
        return {
            start: column_facts({name: ColumnProfile.from_dict(column) for name, column in p.columns.items()})
            for start, p in found.items()
        }

    def _judged(self, reports: Sequence[WindowReport], suspicions: Sequence[Suspicion]) -> WindowReport | None:
        """Return the report with the smallest loss of the versions that were trained without suspects, else of all.

        Wrong labels make every version worse. A loss that only the newest one has tells of that model, which a shadow
        then replaces, and not of the rows.
        """
        known = [
            (loss, -r.version, r)
            for r in reports
            if r.labelled >= MIN_ROWS and (loss := loss_of(r.metrics)) is not None
        ]
        earlier = [s for s in suspicions if s.known_at < reports[0].end]
        clean = [each for each in known if not self._trained_on(each[2].version, earlier)]
        counted = clean or known
        return min(counted, key=lambda each: each[:2])[2] if counted else None

    def _trained_on(self, version: int, suspicions: Iterable[Suspicion]) -> bool:
        """Return True if the training set of a version has rows of a suspected stretch."""
        dataset = self._dataset(version)
        if dataset is None:
            return False
        return any(
            s.start < dataset.as_of
            and s.end > dataset.start
            and not any(first <= s.start and s.end <= last for first, last in dataset.without)
            for s in suspicions
        )

    def _dataset(self, version: int) -> DatasetVersion | None:
        if version not in self._datasets:
            self._datasets[version] = None
            with suppress(NotFound):
                bundle = self._metadata.get(Bundle, f"{self._model}/{version}")
                if bundle.kind == "model":
                    self._datasets[version] = self._metadata.get(DatasetVersion, bundle.dataset)
        return self._datasets[version]


def _rank(profile: Profile, served: set[tuple[datetime, int]]) -> tuple[bool, int]:
    """Return what orders the profiles of a window: the champion's first, then the newest version's."""
    return (profile.start, profile.version) in served, profile.version
