"""The gateway of one folder, without a project: a bundle, or a model that MLflow wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.app.project.child_processes import WORKER
from trimtab.bundle.manifest import MANIFEST, verify
from trimtab.bundle.signature import check_signature
from trimtab.bundle.spec import Runtime, Task
from trimtab.errors import UsageError, nearest
from trimtab.runtimes.servable import describe
from trimtab.serving.orders import BundleOrder, Gap, Grant, ModelOrder, VariantOrder
from trimtab.serving.processes.listening import GatewayConfig, is_loopback
from trimtab.serving.worker_options import Tls, WorkerOptions

NO_LOG = "none:"
PYFUNC: Runtime = "pyfunc"
PROJECT: Runtime = "project"
"""As in bundle.scorer, which loads numpy."""
ONNX_NEEDS = (
    "An ONNX graph is served as the MLflow model that holds it, with its columns: "
    "mlflow.onnx.save_model(onnx.load('{name}'), 'FOLDER', signature=mlflow.models.infer_signature(X, y))"
)
PICKLE_NEEDS = (
    "A pickled model is served as the MLflow model that holds it: mlflow.sklearn.save_model(model, 'FOLDER', "
    "signature=mlflow.models.infer_signature(X, y), serialization_format='skops'), which needs no unpickling"
)
OTHER_NEEDS = "Let your library's MLflow flavour write one: mlflow.<flavour>.save_model(model, 'FOLDER', signature=...)"
NEEDS = {".onnx": ONNX_NEEDS, ".pkl": PICKLE_NEEDS, ".pickle": PICKLE_NEEDS, ".joblib": PICKLE_NEEDS}
"""By the end of a file's name: how to make a folder of it that can be served."""


@dataclass(frozen=True, kw_only=True)
class StandaloneOptions:
    """The options of `trimtab serve PATH`; None where an option was left out."""

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
    """Orders a gateway to serve one folder."""

    def __init__(self, order: ModelOrder) -> None:
        self._order: ModelOrder | None = order

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return the folder's model, once."""
        order, self._order = self._order, None
        return None if order is None else (order,)

    def grants(self) -> tuple[Grant, ...] | None:
        """Return None: a folder that is served alone has no tokens."""
        return None

    def guard(self) -> None:
        """Do nothing: one folder has no earlier revision."""

    def gap(self, worker: str, gap: Gap) -> None:
        """Do nothing: the workers count lost rows themselves."""


def standalone_config(folder: Path, run_folder: Path, asked: StandaloneOptions, *, public: str = "") -> GatewayConfig:
    """Return the configuration of a gateway for one folder.

    public: why other machines may reach it without tokens. Raises DataError when the folder holds no model, UsageError
    for a file, a log that cannot be kept, a model that needs trust, and trust in nothing.
    """
    _check_trust(asked.trust)
    if asked.log is not None:
        _check_log(asked.log.expanduser())
    order = ModelOrder(*_model(folder.expanduser().resolve(), asked))
    tls = None if asked.tls is None else Tls(*(str(path.expanduser().resolve()) for path in asked.tls))
    log = NO_LOG if asked.log is None else str(asked.log.expanduser().resolve())
    return GatewayConfig(
        worker_command=WORKER,
        setup={
            "root": str(run_folder),
            "predictions": log,
            "standalone": "yes",
        },
        open_control=lambda: OneFolder(order),
        options=WorkerOptions(
            trust=tuple(asked.trust), tls=tls, durability="acknowledged" if asked.log else "interval"
        ),
        run_folder=run_folder,
        workers=asked.workers or 1,
        host=asked.host or "127.0.0.1",
        port=8080 if asked.port is None else asked.port,
        grpc_port=asked.grpc_port,
        all_or_nothing=True,
        public=public,
    )


def _model(folder: Path, asked: StandaloneOptions) -> tuple[str, int, tuple[VariantOrder, ...]]:
    if folder.is_file():
        needs = NEEDS.get(folder.suffix.lower(), OTHER_NEEDS).format(name=folder.name)
        raise UsageError(f"{folder}: this is a file; expected a folder: a bundle, or an MLflow model. {needs}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not there; expected a folder: a bundle, or an MLflow model")
    if asked.signed_by is not None:
        check_signature(folder, asked.signed_by)
    digest = verify(folder) if (folder / MANIFEST).is_file() else ""
    spec = describe(folder, trust=asked.trust, task=asked.task)
    if spec.runtime == PROJECT:
        raise UsageError(
            f"{folder}: the model is a pickle that a project trusts because its own records say that its training made "
            "it; serve it from that project: trimtab serve"
        )
    if spec.runtime == PYFUNC and PYFUNC not in asked.trust:
        raise UsageError(
            f"{folder}: the model is loaded by unpickling ({spec.runtime_reason}), which runs any code that it holds; "
            f"when you trust its source: --trust {PYFUNC}"
        )
    order = BundleOrder(f"{spec.model}/{folder.name}", spec.model, 1, str(folder), digest, spec)
    return spec.model, 1, (VariantOrder("champion", 100.0, order),)


def refuse_public(config: GatewayConfig) -> None:
    """Raise UsageError for an address that other machines reach: a folder without a project has no tokens."""
    if is_loopback(config.host) or config.public:
        return
    raise UsageError(
        f"--host {config.host} can be reached from other machines, and any program there could call the gateway. A "
        "folder that is served alone has no tokens: leave --host out and let a proxy that authenticates callers pass "
        "on requests, or serve the model from a project with serving.authentication: tokens (see docs/operations.md)"
    )


def _check_trust(trust: Sequence[str]) -> None:
    for name in trust:
        if name != PYFUNC and "." not in name:
            raise UsageError(
                f"--trust {name}: expected {PYFUNC}, or a type in a skops file by its full name, such as "
                f"package.module.Type.{nearest(name, [PYFUNC])}"
            )


def _check_log(folder: Path) -> None:
    """Raise UsageError for a folder in which no log can be kept: a worker would wait for it in vain."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--log {folder}: this is no folder; the prediction log needs one of its own")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--log {folder}: the folder cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--log {folder}: nothing can be written into this folder")
