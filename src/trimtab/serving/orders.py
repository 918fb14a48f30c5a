"""What the supervisor tells its workers, and what they tell it. Sent through channel."""

from __future__ import annotations

import msgspec

from trimtab.bundle.spec import Spec
from trimtab.records.record import Role
from trimtab.serving.worker_options import WorkerOptions

COUNTS = "counts"
"""Folder, inside the run folder, where workers leave their counts."""


class BundleOrder(msgspec.Struct, frozen=True):
    """A bundle to load: a folder on this machine, to be verified against the digest (empty: there is none)."""

    id: str
    model: str
    version: int
    folder: str
    digest: str
    spec: Spec | None = None
    """Of a folder that holds no bundle.json; left out, the folder says it."""
    error: str = ""
    """Why it is not to be loaded. A worker that has loaded it keeps it; to any other it is a bundle that failed."""

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by: its name and what is in it."""
        return self.id, self.digest


class VariantOrder(msgspec.Struct, frozen=True):
    """A bundle in a role."""

    role: Role
    weight: float
    bundle: BundleOrder


class ModelOrder(msgspec.Struct, frozen=True):
    """What one model is to serve. error: why its bundles cannot be had; then there are no variants."""

    model: str
    revision: int
    variants: tuple[VariantOrder, ...]
    sticky: tuple[str, ...] | None = None
    warm: BundleOrder | None = None
    """The champion before, kept loaded for a rollback."""
    before: tuple[VariantOrder, ...] = ()
    """What served before: a worker that cannot load the variants and serves nothing yet takes these."""
    before_revision: int = 0
    error: str = ""


class Serve(msgspec.Struct, frozen=True, tag=True):
    """All models, whole: what is not named is not served."""

    models: tuple[ModelOrder, ...]
    held: tuple[str, ...] = ()
    """Models that were unloaded by request."""


class Grant(msgspec.Struct, frozen=True):
    """What the token with a digest opens."""

    sha256: str
    name: str
    models: tuple[str, ...]
    verbs: tuple[str, ...]
    expires_at: int | None
    """Microseconds since the epoch."""


class Admit(msgspec.Struct, frozen=True, tag=True):
    """All tokens that are valid."""

    grants: tuple[Grant, ...]


class End(msgspec.Struct, frozen=True, tag=True):
    """The whole gateway ends: finish what is under way, lose nothing, and end."""


class Trial(msgspec.Struct, frozen=True):
    """A bundle to be opened, warmed up and scored where that does no harm, in so many seconds."""

    bundle: BundleOrder
    limit_s: float


class Configure(msgspec.Struct, frozen=True, tag=True):
    """The first message. setup: what the worker's own program needs, in its own form."""

    worker: str
    options: WorkerOptions
    run_folder: str
    setup: dict[str, str]
    grpc: tuple[str, int] | None = None
    """Host and port, which all workers share."""
    trial: Trial | None = None
    """Set, the process answers nobody: it opens one bundle, tells how that went, and ends."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker has loaded what it could of its first orders, and listens."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A worker cannot start, and ends."""

    error: str


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """A model cannot serve as told (error empty: it can again)."""

    model: str
    error: str


class Serving(msgspec.Struct, frozen=True, tag=True):
    """What a worker answers by from now on: model -> number of the revision, without models that are in trouble."""

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
    """A worker opens a bundle from now on; without a name: none any more. Told before its files are touched."""

    id: str = ""
    digest: str = ""


class Tried(msgspec.Struct, frozen=True, tag=True):
    """How a trial ended; error empty: well."""

    error: str


Down = Configure | Serve | Admit | End
"""Supervisor to worker."""
Up = Ready | Failed | Trouble | Serving | Gap | Hold | Loading | Tried
"""Worker to supervisor."""
