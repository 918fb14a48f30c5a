"""The gateway of one folder, without a project: a bundle, or a model that MLflow wrote. Called by cli."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab import bundle
from trimtab.app.program import WORKER
from trimtab.bundle import MANIFEST, Task
from trimtab.bundle.signature import check_signature
from trimtab.serving import GatewayConfig
from trimtab.serving.options import Tls, WorkerOptions
from trimtab.serving.orders import BundleOrder, Gap, Grant, LaneOrder, ModelOrder

NOWHERE = "none:"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the command line says."""

    host: str | None = None
    port: int | None = None
    grpc_port: int | None = None
    workers: int | None = None
    log: Path | None = None
    """Folder of the prediction log; None keeps none."""
    trust: Sequence[str] = ()
    task: Task | None = None
    """Of an MLflow model that does not say it."""
    signed_by: Path | None = None
    """PEM file of the public key."""
    tls: tuple[Path, Path] | None = None
    """Certificate and key."""


class OneFolder:
    """Serves the same folder for ever."""

    def __init__(self, order: ModelOrder) -> None:
        self._order: ModelOrder | None = order

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return the folder's model, once."""
        order, self._order = self._order, None
        return None if order is None else (order,)

    def grants(self) -> tuple[Grant, ...] | None:
        """Admit nobody in particular."""
        return None

    def guard(self) -> None:
        """There is nothing to go back to."""

    def gap(self, worker: str, gap: Gap) -> None:
        """The workers' counts have it."""


def standalone_config(folder: Path, run_folder: Path, wishes: Wishes, *, public: str = "") -> GatewayConfig:
    """Return the configuration of a gateway for one folder. Raises DataError when it holds no model.

    public: why other machines may reach it without tokens.
    """
    order = ModelOrder(*_model(folder.expanduser().resolve(), wishes))
    tls = None if wishes.tls is None else Tls(*(str(path.expanduser().resolve()) for path in wishes.tls))
    log = NOWHERE if wishes.log is None else str(wishes.log.expanduser().resolve())
    return GatewayConfig(
        worker_command=WORKER,
        setup={
            "root": str(run_folder),
            "predictions": log,
            "standalone": "yes",
        },
        open_control=lambda: OneFolder(order),
        options=WorkerOptions(
            trust=tuple(wishes.trust), tls=tls, durability="acknowledged" if wishes.log else "interval"
        ),
        run_folder=run_folder,
        workers=wishes.workers or 1,
        host=wishes.host or "127.0.0.1",
        port=8080 if wishes.port is None else wishes.port,
        grpc_port=wishes.grpc_port,
        all_or_nothing=True,
        public=public,
    )


def _model(folder: Path, wishes: Wishes) -> tuple[str, int, tuple[LaneOrder, ...]]:
    if wishes.signed_by is not None:
        check_signature(folder, wishes.signed_by)
    digest = bundle.verify(folder) if (folder / MANIFEST).is_file() else ""
    spec = bundle.describe(folder, trust=wishes.trust, task=wishes.task)
    order = BundleOrder(f"{spec.model}/{folder.name}", spec.model, 1, str(folder), digest, spec)
    return spec.model, 1, (LaneOrder("champion", 100.0, order),)
