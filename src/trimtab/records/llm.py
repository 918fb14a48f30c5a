"""Records of prompts: endpoints, sets of examples, calibrations of judges, closed spend, erased text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from trimtab.records.record import Record


class EndpointVersion(Record, frozen=True, kw_only=True):
    """An endpoint as it was defined when a version of a prompt was made; id is `name/hash`. It holds no key."""

    KIND = "endpoint"
    KEYS = ("name",)

    name: str
    url: str
    models: tuple[str, ...]
    prices: str
    """JSON of the dated prices by model."""
    hash: str


class EvalSetVersion(Record, frozen=True, kw_only=True):
    """A set of examples; id is `name/hash`."""

    KIND = "eval_set"
    KEYS = ("name",)

    name: str
    hash: str
    """SHA-256 over the items in their order."""
    items: int
    clusters: int
    tags: Mapping[str, Mapping[str, int]]
    """Column -> value -> items."""
    path: str
    """Folder in the artifact store with items.jsonl."""


class JudgeCalibration(Record, frozen=True, kw_only=True):
    """How well a judge agrees with people; id is `judge@version/labels/time`. None: it cannot be computed."""

    KIND = "judge_calibration"
    KEYS = ("judge",)

    judge: str
    version: str
    """Hash of model, rubric and scale."""
    labels: str
    """Hash of the verdicts of people."""
    n: int
    """Answers that people and the judge have judged."""
    agreement: float
    constant_agreement: float
    """Of the answer that is always the more frequent one."""
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    sensitivity: float | None
    specificity: float | None
    flips: float
    """Share of verdicts that a second run changed."""
    length_slope: float | None
    """Change of the judge's verdict minus the person's for an answer of twice the length."""
    cells: tuple[int, ...] = ()
    """Answers that both failed, the person alone passed, the judge alone passed, both passed. A score from 0.5 on is a
    pass."""
    no_verdict: int = 0
    """Answers on which the judge gave none; they count as failed."""
    raters: float | None = None
    """Kappa of two people on the same answers; None where fewer than two judged any."""
    twice: int = 0
    """Answers that two people have judged."""
    allowed: bool
    """Whether it may gate."""
    reason: str


class SpendClosed(Record, frozen=True, kw_only=True):
    """What a scope has spent in a period that is over; id is `scope/period`."""

    KIND = "spend"
    KEYS = ("scope",)

    scope: str
    """project, prompt:NAME, token:NAME, user:HASH ..."""
    start: datetime
    end: datetime
    by_purpose: Mapping[str, int]
    """serve, shadow, judge, eval, tune -> cost in 1e-12 of the currency."""
    by_usage: Mapping[str, int]
    """reported, counted, estimated, assumed -> the same."""
    calls: int


class TextErasure(Record, frozen=True, kw_only=True):
    """Text of turns that a person had erased; id is `erasure/COLUMN/VALUE/time`. It names the subject by a hash."""

    KIND = "text_erasure"
    KEYS = ("by",)

    column: str
    """prediction_id, user or conversation."""
    value: str
    """Id of the turn, or the keyed hash of the user or conversation."""
    rows: int
    """Parts of turns that were erased."""
    reason: str
    by: str
