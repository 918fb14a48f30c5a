"""Records of monitoring: label intakes, windows, profiles, signals."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from trimtab.records.record import Record, Role, SignalKind


class LabelIntake(Record, frozen=True, kw_only=True):
    """The rows of one table version that became labels; id is `model/table@version`.

    Written when the labels are on disk. The newest one of a model and table has the last version whose rows were taken.
    """

    KIND = "label_intake"
    KEYS = ("model", "table", "version")

    model: str
    table: str
    version: int
    rows: int
    added: int
    """Labels that were written to the label log."""
    repeated: int
    """Rows whose label was known already."""
    contradicting: int
    """Rows whose label differs from an earlier one; the label with the latest known_at counts."""
    waiting: int
    """Rows without an outcome yet."""
    refused: str | None
    """Why no row of the version was taken: what is wrong with some of them. None when it was taken."""


class WindowReport(Record, frozen=True, kw_only=True):
    """One closed event-time window of one served version; id is `model/vVERSION/start/stage`.

    stage "closed": all rows are in it. stage "matured": its labels are complete, too. stage "guarded": a few
    seconds of wall time in which the gateway's guard measured a value beyond a limit; its id has the revision in place
    of the start, `model/vVERSION/rNUMBER/guarded`, and its signal is `model/vVERSION/rNUMBER/guard`.
    """

    KIND = "window"
    KEYS = ("model", "version", "role", "stage", "start")
    JOINTLY = (("model", "stage"), ("model", "stage", "start"))

    model: str
    version: int
    role: Role
    stage: Literal["closed", "matured", "guarded"]
    start: datetime
    end: datetime
    rows: int
    served_rows: int
    """Rows whose score was sent to the client. The other rows were scored for comparison only."""
    labelled: int
    coverage: float
    """Labelled share of rows."""
    metrics: dict[str, float]
    """Label-based performance (matured), mean confidence, p50_ms, p99_ms, error_rate, cost, money_lost.

    answer_money_lost: the part of money_lost of rows whose score was sent to the client; answers_priced: their number,
    of labelled ones.

    METRIC_low, METRIC_high: 95 % interval of the task's first metric, and of that of `promote_when`, from the spread of
    the labelled rows, which count as independent (stats/intervals.py, `row_interval`); left out of windows that are too
    small. error_rate_low, p99_low_ms: lower confidence bounds of the version's share of failed rows and of its 99th
    percentile; limits are compared with them. failed_requests: number of requests with failed rows.
    """


MONEY_GAIN = "paired_money_gain"
"""Metric of a window: money a prediction that a version's mistakes cost less than the champion's, on the same rows."""


ANSWER_MONEY = "answer_money_lost"
"""Metric of a window: the money lost on rows whose score was sent to the client."""
ANSWERS_PRICED = "answers_priced"
"""Metric of a window: how many labelled rows `ANSWER_MONEY` counts."""

SCORE = "score"
"""Name of a model's output among the profiled columns; of a multiclass model the probability of the predicted class."""


def class_column(name: str) -> str:
    """Return the name of the profiled column with the probabilities of a class."""
    return f"{SCORE}:{name}"


def is_output(column: str) -> bool:
    """Return True if a profiled column holds what a model gave."""
    return column == SCORE or column.startswith(f"{SCORE}:")


class Profile(Record, frozen=True, kw_only=True):
    """Mergeable histogram counts of one window of one version, per column."""

    KIND = "profile"
    KEYS = ("model", "version", "start")
    JOINTLY = (("model", "version"),)

    model: str
    version: int
    start: datetime
    end: datetime
    rows: int
    columns: dict[str, dict[str, Any]]


CHECKS = "checks"
"""Subject of the quality signal about rows with a value that the request checks do not expect."""

TEXTS = "texts"
"""Subject of the quality signal about turns of a prompt whose text is kept as a hash."""

IMPACT = "impact"
"""Subject of the error signal of a window in which the project's impact function failed."""

KPI_LOST = "lost_per_day"
"""Effect of a KPI's signal: how much worse than usual the window was, as money a day. Only of KPIs that count as money
lost."""

ABSOLUTE = "absolute:"
"""Begins the subject of the quality signals of the absolute rules; the name of the column follows.

Such a signal is written only when a rule fires. Its value is beyond `effect["limit"]`."""


LEARNT = "one of the version's first windows, which later ones are compared with"
"""Reason of a signal of a window that nothing is compared with yet."""

VIEW = "view:"
"""Begins the subject of the freshness signals of views; its name follows. `effect["limit"]` is the limit."""


class Signal(Record, frozen=True, kw_only=True):
    """One statistic of one window; id is `model/vVERSION/start/kind/subject`."""

    KIND = "signal"
    KEYS = ("model", "version", "kind", "start", "subject")
    JOINTLY = (
        ("model", "version", "start"),
        ("model", "version", "kind"),
        ("model", "version", "kind", "start"),
        ("model", "subject", "start"),
    )

    model: str
    version: int
    kind: SignalKind
    subject: str
    """Column, segment, or 'all'; in a quality signal also CHECKS, or ABSOLUTE and a column."""
    start: datetime
    end: datetime
    statistic: str
    value: float
    p: float | None
    p_seq: float | None
    """Anytime-valid p-value; automatic actions use only this one."""
    effect: dict[str, float]
    """Effect sizes: max_share_moved, psi, wasserstein_sd, or the change in the statistic's own unit.

    Of columns also SIZE_usual and SIZE_high: half, and 95 %, of the reference windows have smaller ones. times_usual:
    how many times as large as the latter the largest is; of inputs, the same of the column that is furthest. holm: p of
    a column, corrected for the number of columns."""
    rows: int
    reference_windows: int
    carriers: tuple[str, ...]
    """The columns that contribute most, strongest first."""
    reason: str
    compared_with: str = ""
    """Which windows the reference windows are, in words; empty: those of the training span."""


class Comparison(Record, frozen=True, kw_only=True):
    """A challenger or a shadow compared with the champion up to one matured window; id is
    `model/vVERSION/comparison/vAGAINST/start`.

    Gains are positive when the version is better. Bounds have the confidence of `promote_when`, at all windows of the
    comparison together; None before `min_windows` and after `max_windows`, for which they do not hold.
    """

    KIND = "comparison"
    KEYS = ("model", "version", "against", "start")
    JOINTLY = (("model", "version", "start"),)

    model: str
    version: int
    against: int
    """The champion of the window."""
    window: str
    """Id of the WindowReport of the version that was added."""
    start: datetime
    end: datetime
    metric: str
    """What the rule `promote_when` compares: a metric, or money."""
    gain: float | None
    """Of this window alone, in the metric's unit; None when it does not count: it is suspected."""
    mean: float | None
    """Of all windows so far that count, those held out before included; None without any."""
    low: float | None
    high: float | None
    windows: int
    """Windows so far that count."""
    held_out: int
    """Windows before the comparison that neither version was trained on."""
    labels: int
    """Rows of these windows that both versions scored and that have a label."""
    predictions_per_day: float
    """Traffic of the model in this window."""
    money_per_day: float | None
    """Mean of what the version's mistakes cost less, if it answered all requests, in the policy's currency; None
    without costs in the policy."""
    money_per_day_low: float | None
    money_per_day_high: float | None
    verdict: Literal["promote", "futile", "harm", "continue", "expired"]
    """Of the rule `promote_when` at the first window that decided it, or at this one as long as none has."""
    reason: str
    unit: Literal["windows", "conversations", "users"] = "windows"
    """What evidence is counted in: windows that are compared, or, of a prompt by `llm.promote`, first bad events of
    conversations, or pairs of users. Gains of a prompt are relative: the share by which bad events are fewer; `labels`
    is then the number of conversations, and `windows` that of windows since the comparison began."""
    revision: int = 0
    """Of a prompt: number of the revision by which the comparison began; it is part of the id."""


class KpiPoint(Record, frozen=True, kw_only=True):
    """One value of a business KPI; id is `kpi/stream/time/entity/model`."""

    KIND = "kpi_point"
    KEYS = ("stream", "time")
    JOINTLY = (("stream", "time"),)

    stream: str
    time: datetime
    """Event time."""
    value: float
    entity: str | None
    model: str | None
    by: str
