"""Records of training: datasets, runs, bundles."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from trimtab.records.record import Origin, Record


class FeatureSkew(msgspec.Struct, frozen=True, kw_only=True):
    """How often a feature was served with another value than the one that the tables give."""

    feature: str
    rows: int
    """Rows of the training set whose served value the prediction log has."""
    differ: int
    """Of those: values that are not equal. Missing values are equal to each other."""
    missing: int = 0
    """Of those that differ: one of both is missing."""
    largest: float | None = None
    """Largest absolute difference of two finite numbers; None when there is none."""


class DatasetVersion(Record, frozen=True, kw_only=True):
    """A point-in-time training set; id is its content hash."""

    KIND = "dataset"
    KEYS = ("model",)

    model: str
    start: datetime
    as_of: datetime
    """It holds only what was known at this time."""
    split_at: datetime
    """Rows at or after this time are the holdout, on which the gates measure."""
    rows: int
    labelled: int
    holdout_rows: int
    label_mean: float
    """Mean of the labels; of a multiclass set of their indices; 0 without labels."""
    classes: tuple[str, ...] = ()
    """Names of the classes; the label of a row is the index of one. Empty where labels are numbers."""
    tables: dict[str, str]
    """Table name -> id of its TableVersion."""
    views: tuple[str, ...]
    """Ids of the FeatureViewVersions."""
    code_hash: str
    """Hash of the on-demand transforms."""
    features: tuple[str, ...]
    path: str
    """Folder in the artifact store."""
    warnings: tuple[str, ...] = ()
    """Likely mistakes, in words: features without values, outcomes known at the time of the request."""
    without: tuple[tuple[datetime, datetime], ...] = ()
    """Stretches of event time, from and to, whose rows were left out: they are suspected, or not judged yet."""
    feature_types: Mapping[str, str] = {}
    """Type of each feature that is no plain number."""
    feature_categories: Mapping[str, tuple[str, ...]] = {}
    """Known categories in the order of their codes: those of the training part."""
    input: str = "matrix"
    """What the trainer gets: matrix or frame."""
    unseen: str = "other"
    """What becomes of a category that is not known: other, missing or refuse."""
    features_from: str = "offline"
    """offline: features were computed from the tables; compare: and compared with the served ones; log: where the log
    has served ones, those were taken."""
    skew: tuple[FeatureSkew, ...] = ()
    """By feature, where features were compared with the served ones."""
    made_in: str | None = None
    """Name of the environment that a promoted bundle came from, which has the rows; None: they are in this one."""


class FoldScore(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one fold of a cross-validation over time."""

    start: datetime
    """Rows from this time on are scored; the fit knew what was known then."""
    end: datetime
    """Time of the last row that is scored."""
    train_rows: int
    rows: int
    left_out: int
    """Rows before `start` whose label was not known then: they are neither fitted on nor scored."""
    metrics: dict[str, float]


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a baseline on the holdout, and by how much the model is better on the same rows."""

    name: str
    """prior (frequencies of the classes), mean, median, constant, or the id of the bundle that served."""
    metric: str
    value: float
    gain: float
    """In the metric's unit; more than 0 when the model is better, whichever way the metric goes."""
    low: float | None
    high: float | None
    """The interval of the gain; None where it is not defined."""
    confidence: float
    rows: int
    """Rows of the holdout that neither was fitted on."""
    unit: str
    """Unit of the interval: days, or hours where there are few days."""
    clusters: int


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a search of parameters found."""

    key: str
    """Hash of data, code, environment and space; the name of the study."""
    metric: str
    value: float
    """Mean over the folds of the best trial."""
    params: dict[str, Any]
    best: int
    """Number of the best trial, from 0."""
    trials: int
    pruned: int
    failed: int
    folds: int
    cpu_seconds: float
    wall_seconds: float
    cost: float
    ended: str = ""
    """Why it ended before all trials; empty when it did not."""


REFIT = "/refit"
"""Ends the key of a fit on all rows; the key of the judged run comes before it."""


class Run(Record, frozen=True, kw_only=True):
    """One training; id is the MLflow run id."""

    KIND = "run"
    KEYS = ("model", "dataset", "key", "refit_of")
    JOINTLY = (("model", "refit_of"),)

    key: str
    """What caused it. A second request with the same key gets the same run, so a resumed workflow trains once."""
    model: str
    dataset: str
    experiment: str
    seed: int
    params: dict[str, Any]
    metrics: dict[str, float]
    code_version: str
    """Git revision of the project, with '+dirty' when the tree differed, or 'unversioned'."""
    environment_hash: str
    cpu_seconds: float
    wall_seconds: float
    peak_memory_mb: float
    cost: float
    model_hash: str
    """SHA-256 of the ONNX graph. The same dataset, code and seed give the same hash."""
    staging: str
    """Folder in the artifact store with the packaged model, before gates and registration."""
    rounds: int | None = None
    """Rounds after which the estimator stopped early; None when it did not, or that is not known."""
    code_hash: str = ""
    """SHA-256 over the project's Python files; empty in older records."""
    validation: float | None = None
    """Share of the training part's time that early stopping and calibration used; None: none."""
    validation_rows: int = 0
    left_out: int = 0
    """Rows just before the validation rows whose label was not known when these begin."""
    calibrate: str | None = None
    """Method of the calibration; None: none."""
    previous: str | None = None
    """The run whose estimator the trainer got to start from; None: none."""
    folds: tuple[FoldScore, ...] = ()
    """The cross-validation over time, in order of time."""
    baselines: tuple[Baseline, ...] = ()
    search: SearchResult | None = None
    refit_of: str | None = None
    """Of a fit on all rows after the gates: the run that the gates judged; its metrics are that run's."""
    python: str = ""
    """Version of Python, such as 3.11.7."""
    platform: str = ""
    """Such as Linux-x86_64."""
    pins: tuple[str, ...] = ()
    """name==version of what the training had loaded and of what that needs, sorted."""
    gates: Mapping[str, Any] = {}
    """The policy's gates when the training began, with all limits; empty in older records."""
    gates_frozen_at: datetime | None = None
    """When they were read, before the training."""
    changes: str = ""
    """SHA-256 of the patch of uncommitted changes, code/changes.patch of the packaged model; "" if there were none,
    `too large` if it is not kept."""
    purpose: Literal["train", "evaluate", "tune"] = "train"
    """evaluate, tune: of a prompt. `dataset` is then the id of its EvalSetVersion, and `model_hash` the prompt's."""
    made_in: str | None = None
    """Name of the environment that trained and paid, where a promoted bundle came from; None: this one."""


class UsualRange(msgspec.Struct, frozen=True, kw_only=True):
    """Where a metric usually lies: its 5th percentile, median and 95th percentile over the labelled reference
    windows."""

    low: float
    median: float
    high: float


class Bundle(Record, frozen=True, kw_only=True):
    """A packaged model that can serve; id is `model/version`."""

    KIND = "bundle"
    KEYS = ("model", "run", "digest")

    model: str
    version: int
    """Version in the MLflow registry."""
    run: str
    """The run that the gates judged."""
    dataset: str
    gate_report: str
    digest: str
    """SHA-256 of the manifest, which holds the SHA-256 of every file."""
    path: str
    """Folder in the artifact store."""
    features: tuple[str, ...]
    views: tuple[str, ...]
    threshold: float
    refit: str | None = None
    """The run that serves, when it was fitted again on all rows after the gates; None: the judged one serves."""
    usual: Mapping[str, UsualRange] = {}
    """By metric of a matured window; empty in older records, and metrics without enough windows are left out."""
    kind: Literal["model", "prompt"] = "model"
    endpoint: str = ""
    """Id of the EndpointVersion of a prompt; empty for a model."""
    upstream_model: str = ""
    """Name of the language model at the endpoint."""
    prompt_hash: str = ""
    origin: Origin | None = None
    """Of a bundle that was promoted from another environment: the training set and the files of its run are there."""
