"""The routine refresh, the same recipe on newer rows: when it is due, and whether its model serves at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trimtab import units
from trimtab.clock import to_micros
from trimtab.control.cause import Cause
from trimtab.control.history import ControlHistory
from trimtab.control.suspicion import Stretch, overlaps
from trimtab.control.way_back import on_probation
from trimtab.policy.decide import Refresh
from trimtab.policy.model import Policy
from trimtab.records.control import Trigger
from trimtab.records.monitoring import WindowReport
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.metadata.contract import Metadata, latest, newest_until

RARE = 14
"""With more windows than this between two refreshes, a drift starts a retraining of its own."""


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """What a refresh is due by. since: end of the data of the newest model, or of the window that asked for it."""

    since: datetime | None = None
    new: int = 0
    """Labelled rows since then, those of suspected windows left out."""
    known: int = 0
    """Labelled rows of the newest training set."""
    by_clock: bool = False
    """No window asked for the newest model. Labels of the windows before `since` were then not complete, so the window
    that is judged at that time ends earlier, by `decide.labels_mature_after`."""

    @property
    def share(self) -> float:
        """By what share the labelled rows have grown."""
        return self.new / self.known if self.known else float(self.new > 0)


@dataclass(frozen=True, kw_only=True)
class Due:
    """A retraining that is due, and why."""

    trigger: Trigger
    reason: str


def labelled_rows(
    metadata: Metadata, model: str, history: ControlHistory, *, until: datetime, suspected: Sequence[Stretch] = ()
) -> LabelledRows:
    """Return the labelled rows of a model at the end of a judged window (event time).

    Counted from the newest decision to retrain that made a bundle; before the first one, from the end of the newest
    bundle's training set on. suspected: stretches whose rows do not count.
    """
    bundle = latest(metadata, Bundle, model=model)
    if bundle is None or bundle.kind == "prompt":  # no schedule searches for a better prompt
        return LabelledRows()
    dataset = metadata.get(DatasetVersion, bundle.dataset)
    since = history.last_retrain or dataset.as_of
    where = {"model": model, "stage": "matured"}
    by_start: dict[datetime, int] = {}
    for window in newest_until(metadata, WindowReport, lambda w: w.end <= since, **where):
        if window.end <= until and not overlaps(window, suspected):
            by_start[window.start] = max(by_start.get(window.start, 0), window.labelled)
    new = sum(by_start.values())
    return LabelledRows(since=since, new=new, known=dataset.labelled, by_clock=history.last_retrain is None)


def due(cause: Cause, policy: Policy, rows: LabelledRows) -> Due | None:
    """Return the retraining that is due when a window was judged, or None."""
    refresh, retrain = policy.retrain.refresh, policy.retrain
    if rows.since is None:
        return None
    if retrain.on_new_data is not None and rows.new >= retrain.on_new_data:
        return Due(
            trigger="data",
            reason=(
                f"new data: {rows.new:,} labelled rows have come since {rows.since:%Y-%m-%d}; retrain.on_new_data is "
                f"{retrain.on_new_data:,}"
            ),
        )
    if refresh is None:
        return None
    passed = passed_since(rows.since, cause, policy, rows)
    if passed < refresh.every or rows.share < refresh.min_new_rows or not rows.new:
        return None
    return Due(
        trigger="routine",
        reason=(
            f"routine: the last retraining was {_days(passed)} ago, a refresh is due every {_days(refresh.every)}; "
            f"{rows.new:,} labelled rows are new ({rows.share:.1%} more)"
        ),
    )


def passed_since(since: datetime, cause: Cause, policy: Policy, rows: LabelledRows) -> int:
    """Return the microseconds from `since`, that of `rows`, until a window was judged."""
    passed = to_micros(cause.window.end) - to_micros(since)
    return passed + (policy.decide.labels_mature_after if rows.by_clock else 0)


def rare(refresh: Refresh, window: int) -> bool:
    """Return True if refreshes are so rare that a drift starts a retraining of its own. window: microseconds."""
    return refresh.every > RARE * window


def promotes_at_once(policy: Policy, metadata: Metadata, model: str) -> bool:
    """Return True if a retrained model that passed its gates serves at once, without a comparison.

    Not after a rollback to a shadow that led: the next model must lead first.
    """
    return serves_at_once(policy) and not on_probation(metadata, model)


def serves_at_once(policy: Policy) -> bool:
    """Return True if the policy lets retrained models serve without a comparison."""
    return policy.retrain.refresh is not None and policy.retrain.refresh.promote == "at_once"


def _days(micros: int) -> str:
    days = micros / units.MICROS["d"]
    return f"{days:.3g} day{'' if days == 1 else 's'}"
