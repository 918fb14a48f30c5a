"""A request through protocol, gateway and log, as counts, spans and tokens see it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import Access, Grants, Headers
from trimtab.serving.orders import Grant
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.requests import InferenceResponse
from trimtab.serving.telemetry.traces import Attributes, CallSpan, RequestTrace, Stage, current
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.observing import GONE, Observer

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"
SECRET = "tt_" + "0" * 64


class Kept:
    """Traces that keep what they are told."""

    def __init__(self) -> None:
        self.noted: list[tuple[InferenceResponse, Sequence[Stage]]] = []
        self.ended: list[tuple[str, str, int]] = []

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace:
        current.set(self)
        return self

    def note(self, response: InferenceResponse, stages: Sequence[Stage] = ()) -> None:
        self.noted.append((response, stages))

    def end(self, method: str, route: str, path: str, status: int) -> None:
        self.ended.append((method, route, status))

    def note_calls(self, attributes: Attributes, calls: Sequence[CallSpan]) -> None: ...

    def end_rpc(self, service: str, method: str, status: int) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def observed(served: Served, pack: Packer, table_of: TableOf, kept: Kept) -> Served:
    """A gateway that traces and asks for a token."""
    served.serve(table_of(("champion", pack(3), 100)))
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    access = Access(Grants.of([Grant(digest, "batch", ("delay",), ("infer",), None)]), served.clock)
    served.browser._application = Application(
        served.gateway, standard_routes(served.gateway), access=access, observer=Observer(served.gateway.metrics, kept)
    )
    return served


def test_a_prediction_is_traced_with_its_stages_in_order(observed: Served, kept: Kept, infer_body: Body) -> None:
    observed.browser.post(INFER, infer_body(1, id="abc"), authorization=f"Bearer {SECRET}")
    ((response, stages),) = kept.noted
    assert (response.version, response.prediction_ids) == (3, ["abc"])
    assert [stage.name for stage in stages] == ["features", "score", "log"]
    times = [time for stage in stages for time in (stage.start_ns, stage.end_ns)]
    assert times == sorted(times)
    assert kept.ended == [("POST", "/v2/models/{model}/infer", 200)]


def test_requests_are_counted_however_they_end(observed: Served, kept: Kept, infer_body: Body) -> None:
    allowed = {"authorization": f"Bearer {SECRET}"}
    assert observed.browser.post(INFER, infer_body(1), **allowed).status == 200
    assert observed.browser.post(INFER, b"{", **allowed).status == 400
    refused = observed.browser.post(INFER, infer_body(1))
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert observed.browser.post("/v2/models/delay/feedback", {"id": "a", "label": 1}, **allowed).status == 403
    assert observed.browser.get("/nothing").status == 404
    found = observed.gateway.metrics.snapshot()
    assert found.requests == {
        ("open_inference", 200): 1,
        ("open_inference", 400): 1,
        ("open_inference", 401): 1,
        ("feedback", 403): 1,
        ("none", 404): 1,
    }
    assert found.state.in_progress == 0
    assert [status for _, _, status in kept.ended] == [200, 400, 401, 403, 404]
    assert len(kept.noted) == 1


@pytest.mark.parametrize("how", [asyncio.CancelledError, ConnectionResetError])
def test_a_request_whose_client_is_gone_is_not_in_progress_any_more(
    observed: Served, kept: Kept, infer_body: Body, how: type[BaseException]
) -> None:
    # given a client that goes away while its body is awaited, or while the answer is sent
    async def receive() -> dict[str, Any]:
        if how is asyncio.CancelledError:
            raise how
        return {"type": "http.request", "body": msgspec.json.encode(infer_body(1))}

    async def send(message: Any) -> None:
        raise how

    async def run() -> None:
        headers = [(b"authorization", f"Bearer {SECRET}".encode())]
        scope = {"type": "http", "method": "POST", "path": INFER, "headers": headers}
        with suppress(how):
            await observed.browser._application(scope, receive, send)

    observed.browser._runner.run(run())
    # then it is counted as such, and nothing is under way
    found = observed.gateway.metrics.snapshot()
    assert (found.state.in_progress, found.requests) == (0, {("open_inference", GONE): 1})
    assert [status for _, _, status in kept.ended] == [GONE]
