"""A gateway over real bundles and a real log, called through its ASGI interface without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.bundle.spec import Spec
from trimtab.clock import ManualClock
from trimtab.records.record import Role
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.loaded_bundle import LoadedBundle, VectorizerFactory, load_bundle
from trimtab.serving.core.routing import ModelTable, RoutingTable, Variant
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import BundleOrder
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.web.asgi import Application
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAN = float("nan")


@dataclass
class Reply:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Browser:
    """Calls an ASGI application; `together` puts several requests into one turn of the loop."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.together([(path, body)], **headers)[0]

    def get(self, path: str, method: str = "GET") -> Reply:
        return self._runner.run(self._call(method, path, [b""], {}))

    def send(self, method: str, path: str, body: Any, **headers: str) -> Reply:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self._runner.run(self._call(method, path, [content], headers))

    def chunked(self, path: str, chunks: Sequence[bytes]) -> Reply:
        return self._runner.run(self._call("POST", path, chunks, {}))

    def together(self, calls: Sequence[tuple[str, Any]], **headers: str) -> list[Reply]:
        async def run() -> list[Reply]:
            contents = [body if isinstance(body, bytes) else msgspec.json.encode(body) for _, body in calls]
            return await asyncio.gather(
                *[
                    self._call("POST", path, [content], headers)
                    for (path, _), content in zip(calls, contents, strict=True)
                ]
            )

        return self._runner.run(run())

    async def _call(self, method: str, path: str, chunks: Sequence[bytes], headers: Mapping[str, str]) -> Reply:
        waiting = list(chunks)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            body = waiting.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            sent.append(message)

        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if len(chunks) == 1:
            given.append((b"content-length", str(len(chunks[0])).encode()))
        scope = {"type": "http", "method": method, "path": path, "headers": given}
        await self._application(scope, receive, send)
        start, body = sent
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        assert int(answered["content-length"]) == len(body["body"])
        return Reply(start["status"], answered, body["body"])


Packer = Callable[..., LoadedBundle]


@pytest.fixture
def pack(tmp_path: Path) -> Packer:
    """Return a function that makes and loads a bundle of model "delay" that looks its score up."""
    artifacts = FolderArtifacts(tmp_path / "artifacts")

    def make(
        version: int = 1,
        *,
        scores: Sequence[float] = (0.1, 0.8, NAN),
        vectorizer: VectorizerFactory = NumericColumns,
        background: Sequence[Sequence[float]] = (),
        **changed: Any,
    ) -> LoadedBundle:
        spec: Spec = plain_spec(changed.pop("model", "delay"), changed.pop("features", ["row"]), **changed)
        folder = artifacts.staging()
        digest = pack_bundle(
            folder, lookup_graph(scores, len(spec.features), task=spec.task), spec, background=background
        )
        path = artifacts.publish(folder, f"bundles/{spec.model}/{version}")
        order = BundleOrder(f"{spec.model}/{version}", spec.model, version, str(artifacts.open(path)), digest)
        return load_bundle(order, vectorizer)

    return make


TableOf = Callable[..., ModelTable]


@pytest.fixture
def table_of() -> TableOf:
    """Return a function that makes the table of one model."""
    return _table_of


def _table_of(
    *variants: tuple[Role, LoadedBundle, float],
    number: int = 7,
    sticky: Sequence[str] | None = None,
    warm: Sequence[LoadedBundle] = (),
) -> ModelTable:
    """Return the table of one model."""
    model = variants[0][1].spec.model
    return ModelTable(model, number, [Variant(*variant) for variant in variants], sticky=sticky, warm=warm)


class Served:
    """A gateway that serves some tables, its browser and its log."""

    def __init__(self, log: Predictions, **options: Any) -> None:
        self.log = log
        self.clock = ManualClock(NOW)
        self.gateway = Gateway(log, self.clock, WorkerOptions(**options))
        self.browser = Browser(Application(self.gateway, standard_routes(self.gateway), max_body=100_000))

    def serve(self, *tables: ModelTable) -> Served:
        self.gateway.swap(RoutingTable({table.model: table for table in tables}, complete=True))
        return self

    def rows(self) -> list[dict[str, Any]]:
        self.gateway.settle()
        return list(self.log.read()[0].to_pylist())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A gateway without models."""
    log = SegmentLog(tmp_path / "log")
    served = Served(log)
    yield served
    served.browser.close()
    log.close()


@pytest.fixture
def infer_body() -> Callable[..., dict[str, Any]]:
    """Return a function that makes an Open Inference request for rows of the lookup model."""

    def make(*rows: float | None, **more: Any) -> dict[str, Any]:
        return {"inputs": [{"name": "row", "shape": [len(rows)], "datatype": "FP64", "data": list(rows)}], **more}

    return make
