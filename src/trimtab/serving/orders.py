"""The messages between the supervisor and its workers."""

from __future__ import annotations

import msgspec

from trimtab.bundle.spec import Spec
from trimtab.records.record import Role
from trimtab.serving.worker_options import WorkerOptions

COUNTS = "counts"
"""Folder, inside the run folder, where workers save their counts."""


class BundleOrder(msgspec.Struct, frozen=True):
    """A bundle to load from a folder on this machine, whose content must have the digest (empty: not checked)."""

    id: str
    model: str
    version: int
    folder: str
    digest: str
    spec: Spec | None = None
    """The spec of a folder without bundle.json; None reads it from the folder."""
    error: str = ""
    """Why it must not be loaded. A worker that has loaded it keeps it; any other treats it as failed to load."""

    @property
    def key(self) -> tuple[str, str]:
        """Its identity: name and digest."""
        return self.id, self.digest


class VariantOrder(msgspec.Struct, frozen=True):
    """A bundle in a role."""

    role: Role
    weight: float
    bundle: BundleOrder


class ModelOrder(msgspec.Struct, frozen=True):
    """What one model is to serve. error: why its bundles cannot be fetched; then there are no variants."""

    model: str
    revision: int
    variants: tuple[VariantOrder, ...]
    sticky: tuple[str, ...] | None = None
    warm: BundleOrder | None = None
    """The previous champion, kept loaded for a rollback."""
    before: tuple[VariantOrder, ...] = ()
    """What the previous revision served: loaded by a worker that cannot load `variants` and serves nothing yet."""
    before_revision: int = 0
    error: str = ""
    cuts: bool = False
    """Whether streams of versions that it does not name end at once."""


class Serve(msgspec.Struct, frozen=True, tag=True):
    """The orders of all models; a model that is missing here is not served."""

    models: tuple[ModelOrder, ...]
    held: tuple[str, ...] = ()
    """Models that a client has unloaded."""


class Grant(msgspec.Struct, frozen=True):
    """What the token with a SHA-256 gives access to."""

    sha256: str
    name: str
    models: tuple[str, ...]
    verbs: tuple[str, ...]
    expires_at: int | None
    """Microseconds since the epoch."""
    budget: str = ""
    """Name of a budget of `llm.budgets`; empty: none of its own."""
    limits: str = ""
    """Name of limits of `llm.token_limits`; empty: `llm.limits`."""


class Admit(msgspec.Struct, frozen=True, tag=True):
    """All valid tokens."""

    grants: tuple[Grant, ...]


class End(msgspec.Struct, frozen=True, tag=True):
    """The whole gateway shuts down: finish the requests in progress, then end."""


class Preflight(msgspec.Struct, frozen=True):
    """A bundle to open, warm up and score in a process that serves no requests, within `limit_s` seconds."""

    bundle: BundleOrder
    limit_s: float


class Configure(msgspec.Struct, frozen=True, tag=True):
    """The first message. setup: settings of the worker's program, which alone reads them."""

    worker: str
    options: WorkerOptions
    run_folder: str
    setup: dict[str, str]
    grpc: tuple[str, int] | None = None
    """Host and port of gRPC, which all workers share."""
    preflight: Preflight | None = None
    """If set, the process serves no requests: it runs the preflight, sends the result, and ends."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has followed its first orders as far as it could, and listens."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start, and ends."""

    error: str


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """A model cannot serve as ordered; error empty: it can again."""

    model: str
    error: str


class Serving(msgspec.Struct, frozen=True, tag=True):
    """What the worker serves from now on: model -> revision number, without models that do not serve as ordered."""

    revisions: dict[str, int]


class Gap(msgspec.Struct, frozen=True, tag=True):
    """Answers that could not be logged; times in microseconds since the epoch."""

    rows: int
    start: int
    end: int
    reason: str


class Hold(msgspec.Struct, frozen=True, tag=True):
    """A client asked to unload (or, held false, to load again) a model on all workers."""

    model: str
    held: bool


class Loading(msgspec.Struct, frozen=True, tag=True):
    """The worker starts to load a bundle, sent before it touches a file; with an empty id: it has finished."""

    id: str = ""
    digest: str = ""


class PreflightResult(msgspec.Struct, frozen=True, tag=True):
    """How a preflight ended; error empty: the bundle passed."""

    error: str


Down = Configure | Serve | Admit | End
"""Supervisor to worker."""
Up = Ready | Failed | Trouble | Serving | Gap | Hold | Loading | PreflightResult
"""Worker to supervisor."""
