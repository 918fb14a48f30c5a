"""How long the labels of a model take, and what its estimates before labels were worth. Read from the stores alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.monitoring.estimates import ESTIMATED, past_errors
from trimtab.records.monitoring import WindowReport
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START
from trimtab.units import MICROS, short

ROWS = 50_000
"""Newest predictions of the log that are looked at."""
MOST_LABELS = 2_000_000
"""Of a longer label log the delay is not computed: it would take too long for a look."""
BLOCK_ROWS = 200_000
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
ENOUGH = 0.9
"""Share of the labels that should be there when a window matures."""
PAST_WINDOWS = 30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelDelay:
    """The Kaplan-Meier curve: after `seconds[i]` the share `share[i]` of predictions has a label; both rise.

    Predictions without a label yet count as waiting for at least as long as they have been looked at (right censored).
    To leave them out would make labels look quicker than they are.

    Source: Kaplan & Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958.
    """

    seconds: Floats
    share: Floats

    @classmethod
    def fit(cls, waited: Floats, arrived: npt.NDArray[np.bool_]) -> LabelDelay:
        """Return the curve of some predictions.

        waited: seconds until the label, or until now where there is none, shape (rows,). arrived: True where the label
        is there. A label that was known before its prediction has waited 0.

        >>> delay = LabelDelay.fit(np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, True, False, True]))
        >>> delay.seconds.tolist(), delay.share.tolist()
        ([1.0, 2.0, 3.0], [0.25, 0.5, 1.0])
        """
        waited = np.maximum(waited, 0.0)
        times, came = np.unique(waited[arrived], return_counts=True)
        at_risk = len(waited) - np.searchsorted(np.sort(waited), times, side="left")
        share: Floats = (1 - np.cumprod(1 - came / at_risk)).astype(np.float64)
        return cls(times, share)

    def within(self, seconds: float) -> float:
        """Return the share of predictions that have their label after so long."""
        place = int(np.searchsorted(self.seconds, seconds, side="right"))
        return float(self.share[place - 1]) if place else 0.0

    def until(self, share: float) -> float | None:
        """Return after how many seconds a share of the labels is there; None when it is not known yet."""
        place = int(np.searchsorted(self.share, share - 1e-12, side="left"))
        return float(self.seconds[place]) if place < len(self.share) else None


def label_waits(workspace: Workspace, model: str) -> dict[str, Any] | None:
    """Return the curve of the time to label of a model's newest predictions; None without any.

    `seconds_until`: by share of the labels; None where it is not known yet. `hint`: when windows mature too early.
    """
    log = workspace.predictions
    labels = log.count().labels
    rows, _ = log.read(log.tail(ROWS))
    rows = rows.filter(pc.and_(pc.equal(rows["model"], model), rows["served"]))
    if not rows.num_rows:
        return None
    if labels > MOST_LABELS:
        return {"rows": rows.num_rows, "hint": f"the label log has {labels:,} rows; its delays are not computed"}
    ids, times = rows["prediction_id"].combine_chunks(), rows["event_time"].cast(pa.int64()).to_numpy()
    known_at = np.full(len(times), np.inf)
    block, cursor = log.read_labels(START, limit=BLOCK_ROWS)
    while block.num_rows:
        own = label_rule.of_model(block, model, workspace.label_metrics)
        place = pc.index_in(own["prediction_id"].combine_chunks(), value_set=ids)
        found = place.is_valid().to_numpy(zero_copy_only=False)
        known = own["known_at"].cast(pa.int64()).to_numpy()[found].astype(np.float64)
        np.minimum.at(known_at, place.drop_null().to_numpy().astype(np.int64), known)
        block, cursor = log.read_labels(cursor, limit=BLOCK_ROWS)
    arrived = np.isfinite(known_at)
    now = max(float(times.max()), float(known_at[arrived].max(initial=0)))
    delay = LabelDelay.fit((np.where(arrived, known_at, now) - times) / MICROS["s"], arrived)
    matures = workspace.project.policy.decide.labels_mature_after
    within = delay.within(matures / MICROS["s"])
    return {
        "rows": rows.num_rows,
        "labelled": int(arrived.sum()),
        "seconds_until": {f"{share:g}": delay.until(share) for share in SHARES},
        "labels_mature_after": short(matures),
        "share_when_matured": within,
        "hint": _hint(delay, within, matures) if arrived.any() else None,
    }


def _hint(delay: LabelDelay, within: float, matures: int) -> str | None:
    """Return why windows mature too early, or None. Delays must have been seen for as long as windows wait."""
    if within >= ENOUGH or float(delay.seconds[-1]) * MICROS["s"] < matures:
        return None
    needed = delay.until(ENOUGH)
    later = f"; when {ENOUGH:.0%} are is not known yet"
    if needed is not None:
        later = f", {ENOUGH:.0%} after {duration_text(needed)}"
    return (
        f"decide.labels_mature_after is {short(matures)}: by then {within:.0%} of the labels are in{later}; so windows "
        "are judged on the quicker labels, which may differ from the slower ones"
    )


def duration_text(seconds: float) -> str:
    """Return a duration as a person says it, such as 3.2 d, 5 h or 40 s."""
    for unit, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def estimates(workspace: Workspace, model: str) -> dict[str, Any] | None:
    """Return the newest champion window's performance before its labels, with how wrong such estimates were."""
    closed = workspace.metadata.find(WindowReport, model=model, stage="closed", limit=PAST_WINDOWS)
    newest = next((w for w in closed if w.role == "champion"), None)
    if newest is None:
        return None
    found = {name.removeprefix(ESTIMATED): v for name, v in newest.metrics.items() if name.startswith(ESTIMATED)}
    if not found:
        return None
    past = workspace.metadata.find(
        WindowReport, model=model, version=newest.version, stage="matured", limit=PAST_WINDOWS
    )
    return {"start": newest.start.isoformat(), "version": newest.version, "metrics": found, "past": past_errors(past)}
