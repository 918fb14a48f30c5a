"""The records that pass along the loop: the whole contract between stages.

Each stage reads one record and writes the next. Records are immutable: putting one again under the
same id changes nothing. Times are aware UTC datetimes; money is in the policy's currency.
The rows of the prediction log live outside the metadata store; `stores.predictions` describes them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

Role = Literal["champion", "challenger", "shadow"]
Verdict = Literal["pass", "warn", "fail"]
Action = Literal["monitor", "review", "retrain", "rollback"]
SignalKind = Literal["data", "prediction", "concept", "quality", "latency", "error", "cost", "kpi"]
Level = Literal["low", "medium", "high"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records. `KIND` names the kind; `KEYS` are the fields one may search by.

    `JOINTLY`: keys that are often searched by together; each group has an index.
    """

    KIND: ClassVar[str] = ""
    KEYS: ClassVar[tuple[str, ...]] = ()
    JOINTLY: ClassVar[tuple[tuple[str, ...], ...]] = ()

    id: str
    created_at: datetime


class TableVersion(Record, frozen=True, kw_only=True):
    """One immutable snapshot of an ingested table; id is `table@version`."""

    KIND = "table_version"
    KEYS = ("table",)

    table: str
    version: int
    rows: int
    added_rows: int
    content_hash: str
    """Over the content hashes of all batches up to this version, in order."""
    schema: dict[str, str]
    source: str
    """Name of the file or system the batch came from."""
    source_hash: str
    """SHA-256 of the batch as it arrived; a batch that has been ingested is never ingested twice."""
    replaces_all: bool = False
    """All files were read again: the version holds the rows of all versions before, and adds none."""


class CheckFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One check that some rows failed."""

    column: str
    check: str
    rows: int
    example: str


class CheckReport(Record, frozen=True, kw_only=True):
    """What was validated in one batch, and what was quarantined."""

    KIND = "check_report"
    KEYS = ("table", "batch_hash", "verdict")

    table: str
    batch_hash: str
    source: str
    """Name of the file that was checked, or id of the TableVersion."""
    content_hash: str
    """Over the batch hash and the numbers of the failing rows: what a table takes in of the batch."""
    verdict: Verdict
    rows: int
    failing_rows: int
    max_failing_share: float
    failures: tuple[CheckFailure, ...]
    quarantine: str | None
    """Table that holds the failing rows with their reasons, or None."""
    reason: str
    notes: tuple[CheckFailure, ...] = ()
    """What is odd about the rows although no check refuses them, such as null keys and times in the future."""
    known_rows: int = 0
    """Rows that were left out, because a source with a key had taken them in already."""
    replaces_all: bool = False
    """The batch is the rows of all files, read again."""


class FeatureViewVersion(Record, frozen=True, kw_only=True):
    """One version of a feature definition; id is `view@hash`."""

    KIND = "feature_view_version"
    KEYS = ("view",)

    view: str
    hash: str
    entity: str
    keys: tuple[str, ...]
    source: str
    features: tuple[str, ...]
    spec: dict[str, Any]
    """The whole definition, as canonical plain values."""


class DatasetVersion(Record, frozen=True, kw_only=True):
    """A point-in-time training set; id is its content hash."""

    KIND = "dataset"
    KEYS = ("model",)

    model: str
    start: datetime
    as_of: datetime
    """Nothing that became known after this moment is in it."""
    split_at: datetime
    """Rows at or after it are the holdout that gates are measured on."""
    rows: int
    labelled: int
    holdout_rows: int
    label_mean: float
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
    """What is legal but seldom meant, in words: features without values, outcomes known at the request."""


class Run(Record, frozen=True, kw_only=True):
    """One training; id is the MLflow run id."""

    KIND = "run"
    KEYS = ("model", "dataset", "key")

    key: str
    """What asked for it: the same key asks for the same run, so a resumed workflow trains once."""
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
    """SHA-256 of the ONNX graph: the same dataset, code and seed give the same one."""
    staging: str
    """Folder in the artifact store with the packaged model, before gates and registration."""


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's figure, interval, threshold and verdict."""

    gate: str
    metric: str
    verdict: Verdict
    value: float
    low: float | None
    high: float | None
    threshold: float | None
    reason: str
    details: dict[str, Any] = {}


class GateReport(Record, frozen=True, kw_only=True):
    """All gates of one run; id is `run/gates/key`, plus a number where it was judged again by force."""

    KIND = "gate_report"
    KEYS = ("model", "run", "verdict")

    model: str
    run: str
    champion: str | None
    """Id of the bundle it was compared with."""
    key: str = ""
    """Hash of what the verdicts depend on beside the run: gates, champion, trust, release; empty in older reports."""
    verdict: Verdict
    results: tuple[GateResult, ...]


class Bundle(Record, frozen=True, kw_only=True):
    """What training hands to serving; id is `model/version`."""

    KIND = "bundle"
    KEYS = ("model", "run", "digest")

    model: str
    version: int
    """Version in the MLflow registry."""
    run: str
    dataset: str
    gate_report: str
    digest: str
    """SHA-256 of the manifest, which holds the SHA-256 of every file."""
    path: str
    """Folder in the artifact store."""
    features: tuple[str, ...]
    views: tuple[str, ...]
    threshold: float


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle in one role, with its share of the traffic in percent."""

    role: Role
    bundle: str
    version: int
    weight: float


class Revision(Record, frozen=True, kw_only=True):
    """Which bundles serve, in which role; append-only; id is `model#number`."""

    KIND = "revision"
    KEYS = ("model", "number", "cause")

    model: str
    number: int
    assignments: tuple[Assignment, ...]
    action: Literal["deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"]
    cause: str
    """What asked for it (a workflow step, a decision, a command's key); the same cause writes once."""
    reason: str
    by: str

    def bundle_in(self, role: Role) -> str | None:
        """Return the id of the bundle in `role`, or None."""
        return next((a.bundle for a in self.assignments if a.role == role), None)


class Token(Record, frozen=True, kw_only=True):
    """Leave to call the gateway. The secret itself is shown once and kept nowhere."""

    KIND = "token"
    KEYS = ("name",)

    name: str
    sha256: str
    """Of the secret, in hex."""
    models: tuple[str, ...]
    """Models that it opens; empty for all."""
    verbs: tuple[str, ...]
    """Of infer, feedback, read, admin."""
    expires_at: datetime | None
    by: str


class TokenRevocation(Record, frozen=True, kw_only=True):
    """The end of a token; id is `token/revocation`."""

    KIND = "token_revocation"
    KEYS = ("token",)

    token: str
    reason: str
    by: str


class LogGap(Record, frozen=True, kw_only=True):
    """Predictions that were answered but could not be logged."""

    KIND = "log_gap"
    KEYS = ("worker",)

    worker: str
    rows: int
    start: datetime
    end: datetime
    reason: str


class LabelIntake(Record, frozen=True, kw_only=True):
    """The rows of one table version that became labels; id is `model/table@version`.

    Written when the labels are on disk: the newest one of a model and table tells up to where its rows were taken.
    """

    KIND = "label_intake"
    KEYS = ("model", "table", "version")

    model: str
    table: str
    version: int
    rows: int
    added: int
    """Labels that went into the label log."""
    repeated: int
    """Rows that said what was known already."""
    contradicting: int
    """Rows that said something else than a label before; the latest known_at counts."""
    waiting: int
    """Rows without an outcome yet."""
    refused: str | None
    """What was wrong with some rows, and then none of the version was taken, or None."""


class WindowReport(Record, frozen=True, kw_only=True):
    """One closed event-time window of one served version; id is `model/vVERSION/start/stage`.

    stage "closed": inputs and operations are complete. stage "matured": labels are, too. stage "guarded": some
    seconds of wall time in which the gateway's guard saw a limit broken; its id names the revision in place of the
    start, `model/vVERSION/rNUMBER/guarded`, and its signal is `model/vVERSION/rNUMBER/guard`.
    """

    KIND = "window"
    KEYS = ("model", "version", "role", "stage", "start")
    JOINTLY = (("model", "stage"),)

    model: str
    version: int
    role: Role
    stage: Literal["closed", "matured", "guarded"]
    start: datetime
    end: datetime
    rows: int
    served_rows: int
    """Rows whose answer went to the client (the others were scored beside them for comparison)."""
    labelled: int
    coverage: float
    """Labelled share of rows."""
    metrics: dict[str, float]
    """Label-based performance (matured), mean confidence, p50_ms, p99_ms, error_rate, cost, money_lost.

    error_rate_low, p99_low_ms: what the version's share of failures and its 99th percentile are at least, whatever
    chance did; limits are held against them. failed_requests: how many requests the failed rows came in.
    """


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
"""Subject of the quality signal that tells how many rows hold a value that the checks do not expect."""


class Signal(Record, frozen=True, kw_only=True):
    """One statistic of one window; id is `model/vVERSION/start/kind/subject`."""

    KIND = "signal"
    KEYS = ("model", "version", "kind", "start")
    JOINTLY = (("model", "version", "start"), ("model", "version", "kind"), ("model", "version", "kind", "start"))

    model: str
    version: int
    kind: SignalKind
    subject: str
    """Column, segment, or 'all'."""
    start: datetime
    end: datetime
    statistic: str
    value: float
    p: float | None
    p_seq: float | None
    """Anytime-valid p-value: the one that automation may act on."""
    effect: dict[str, float]
    """Effect sizes: max_share_moved, psi, wasserstein_sd, or the change in the statistic's own unit."""
    rows: int
    reference_windows: int
    carriers: tuple[str, ...]
    """The columns that carry it, strongest first."""
    reason: str


class Decision(Record, frozen=True, kw_only=True):
    """What was decided for one window, and why; id is `model/decision/number`; hash-chained."""

    KIND = "decision"
    KEYS = ("model", "number", "action", "start")
    JOINTLY = (("model", "action"), ("model", "start"))

    model: str
    number: int
    version: int
    """The champion that was judged."""
    window: str
    """Id of the WindowReport that was judged."""
    start: datetime
    end: datetime
    band: str
    """Name of the p-value band."""
    p_seq: float
    p: float
    impact_per_day: float
    impact: Level
    cell: Action
    """What the matrix says."""
    action: Action
    """What was done: cooldown, budget, or missing evidence of harm can soften the cell."""
    reasons: tuple[str, ...]
    signals: tuple[str, ...]
    by: str
    previous_hash: str
    hash: str


class Resolution(Record, frozen=True, kw_only=True):
    """A person's answer to a decision that waits for review; id is `decision/resolution`."""

    KIND = "resolution"
    KEYS = ("decision", "model")

    model: str
    decision: str
    verdict: Literal["approve", "reject", "acknowledge"]
    reason: str
    by: str


class WorkflowStep(Record, frozen=True, kw_only=True):
    """One finished step of a retraining workflow; id is `workflow/step`."""

    KIND = "workflow_step"
    KEYS = ("workflow", "model", "step")

    workflow: str
    model: str
    decision: str | None
    step: str
    outcome: str
    """One line a person can read."""
    refers_to: str | None
    """Id of the record that the step wrote, if any."""


class PolicyVersion(Record, frozen=True, kw_only=True):
    """The text of trimtab.yaml from some moment on; id is `policy/number`."""

    KIND = "policy_version"
    KEYS = ("number",)

    number: int
    hash: str
    """SHA-256 of the text."""
    text: str


class LedgerEntry(Record, frozen=True, kw_only=True):
    """One link of the chain over all that was decided; id is `ledger/number`. Written by the store, with its record."""

    KIND = "ledger_entry"
    KEYS = ("number",)

    number: int
    kind: str
    """Kind of the record."""
    record: str
    """Id of the record."""
    digest: str
    """SHA-256 of the record as it is stored."""
    previous_hash: str
    hash: str


class LedgerAcceptance(Record, frozen=True, kw_only=True):
    """A person's word that breaks of the ledger are known; id is `ledger/acceptance/number`."""

    KIND = "ledger_acceptance"
    KEYS = ("by",)

    breaks: tuple[str, ...]
    """Keys of what did not hold."""
    texts: tuple[str, ...]
    """The same in words."""
    reason: str
    by: str


RECORDS: dict[str, type[Record]] = {kind.KIND: kind for kind in Record.__subclasses__()}
"""Every kind of record by its name, in the order of this file."""
