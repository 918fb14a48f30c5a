"""A gateway of prompts over a real socket, a real log and ledger, and the loopback provider behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvloop

from kit.loopback import QUEUES, endpoint
from trimtab.bundle.prompt_spec import (
    PROMPT_FILE,
    TURN_FEATURES,
    EndpointSpec,
    MessageTemplate,
    PriceSpec,
    PromptSpec,
    TargetSpec,
    VariableSpec,
    write_prompt,
)
from trimtab.bundle.spec import Spec
from trimtab.clock import SystemClock
from trimtab.llm.loopback.loopback_server import EMBEDDING
from trimtab.llm.loopback.starting import OpenLoopback, running
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_rules import spend_rules
from trimtab.llm.redaction.project_key import project_key
from trimtab.llm.redaction.redactor import Redactor
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.policy.llm.section_llm import Llm
from trimtab.records.record import Role
from trimtab.serving.chat.call_books import CallBooks
from trimtab.serving.chat.chat_routes import routes
from trimtab.serving.chat.chat_service import ChatService
from trimtab.serving.chat.loaded_prompt import LoadedPrompt, load_prompt
from trimtab.serving.chat.turn_log import TurnLog
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.routing import ModelTable, RoutingTable, Variant
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.orders import BundleOrder, Grant
from trimtab.serving.telemetry.spans import open_traces
from trimtab.serving.telemetry.traces import Traces
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.observing import Observer
from trimtab.stores.catalog import open_spend
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from unit.serving.http1.sockets import Place, serving

PRICE = PriceSpec(input=150_000, output=600_000, cached=75_000)
CHAT = "/v1/chat/completions"


def priced(url: str, name: str = "main", **more: Any) -> EndpointSpec:
    """Return an endpoint with one price for whatever model a test asks for."""
    return EndpointSpec(name=name, url=url, prices=AnyModel(), **more)


class AnyModel(dict[str, tuple[PriceSpec, ...]]):
    """Prices of all models."""

    def get(self, key: str, default: Any = None) -> Any:
        return (PRICE,)


@dataclass
class Chatting:
    """One gateway. policy: changes of the section llm."""

    folder: Path
    loopback: OpenLoopback
    llm: Llm = field(default_factory=Llm)
    grants: Sequence[Grant] = ()
    pings: float | None = None
    traces: Traces | None = None
    """Of a test that sets OTEL_EXPORTER_OTLP_ENDPOINT."""
    http: httpx.AsyncClient = field(init=False)
    service: ChatService = field(init=False)
    gateway: Gateway = field(init=False)
    place: Place = field(init=False)

    def prompt(self, version: int = 1, model: str = "classifier", *, name: str = "triage", **more: Any) -> LoadedPrompt:
        """Return a version of a prompt that sorts tickets."""
        spec = PromptSpec(
            name=name,
            **{
                "messages": (
                    MessageTemplate(role="system", text=QUEUES),
                    MessageTemplate(role="user", text="{{ ticket }}"),
                ),
                "variables": {"ticket": VariableSpec(default="my parcel is late")},
                "params": {"temperature": 0},
                "target": TargetSpec(endpoint=priced(self.loopback.url), model=model),
                **more,
            },
        )
        folder = self.folder / f"{name}-{version}-{abs(hash(spec.prompt_hash))}"
        folder.mkdir(exist_ok=True)
        write_prompt(folder, spec)
        found = load_prompt(BundleOrder(f"{name}/{version}", name, version, str(folder), "", bundle_spec(name)))
        return replace(found, prompt=spec)  # with its prices of any model

    def serve(self, *variants: tuple[Role, LoadedPrompt, float], revision: int = 7, **more: Any) -> None:
        """Swap to these versions."""
        name = variants[0][1].spec.model
        table = ModelTable(name, revision, [Variant(role, found, weight) for role, found, weight in variants], **more)
        others = {key: each for key, each in self.gateway.table.models.items() if key != name}
        self.gateway.swap(RoutingTable({**others, name: table}, complete=True))

    async def ask(self, body: Mapping[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Ask for a chat of the prompt triage."""
        whole = {"model": "triage", "messages": [], **(body or {})}
        return await self.http.post(CHAT, json=whole, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def events(self, body: Mapping[str, Any] | None = None, **headers: str) -> list[Any]:
        """Return the data of all events of a streamed chat, decoded; "[DONE]" as text."""
        found = await self.ask({"stream": True, **(body or {})}, **headers)
        assert found.status_code == 200, found.text
        assert found.headers["content-type"] == "text/event-stream; charset=utf-8"
        return read_events(found.content)

    def rows(self, kind: str = "predictions") -> list[dict[str, Any]]:
        """Return what the log has."""
        log = SegmentLog(self.folder / "log", writer="reader")
        read = {"predictions": log.read, "turns": log.read_turns, "contents": log.read_contents}[kind]
        return list(read()[0].to_pylist())


def read_events(content: bytes) -> list[Any]:
    """Return the data of events, decoded."""
    found = [line.removeprefix(b"data: ") for line in content.split(b"\n") if line.startswith(b"data: ")]
    return ["[DONE]" if data == b"[DONE]" else msgspec.json.decode(data) for data in found]


def text_of(events: Sequence[Any]) -> str:
    """Return the text of a streamed answer."""
    parts = [choice["delta"].get("content") or "" for event in events[:-1] for choice in event.get("choices", ())]
    return "".join(parts)


def bundle_spec(name: str) -> Spec:
    """Return the description of a prompt's bundle."""
    return Spec(
        model=name,
        task="chat",
        label="",
        features=TURN_FEATURES,
        request_columns=(),
        entity_keys=(),
        timestamp="",
        threshold=0.5,
        run="",
        dataset="",
        views=(),
        code_hash="",
        runtime="chat",
        model_file=PROMPT_FILE,
    )


@asynccontextmanager
async def chatting(chat: Chatting) -> AsyncIterator[Chatting]:
    """Serve, with version 1 of the prompt triage."""
    clock = SystemClock()
    log = SegmentLog(chat.folder / "log")
    chat.gateway = Gateway(log, clock)
    access = Access(Grants.of(chat.grants), clock) if chat.grants else None
    ledger = Ledger(open_spend(None, chat.folder), chat.folder, spend_rules(chat.llm), clock)
    key = project_key(chat.folder)
    redactor = Redactor(chat.llm.redact.detect, chat.llm.redact.patterns, key)
    chat.service = ChatService(
        chat.gateway,
        access,
        chat.llm,
        Upstream(chat.llm.timeouts, chat.llm.retry),
        CallBooks(ledger, clock),
        TurnLog(chat.gateway, log, redactor, chat.llm.store),
        {"main": endpoint(chat.loopback.url, prices=dict.fromkeys(("echo", EMBEDDING), (PRICE,)))},
    )
    application = Application(
        chat.gateway, routes(chat.service), access=access, observer=Observer(chat.gateway.metrics, chat.traces)
    )
    async with serving(application) as chat.place, httpx.AsyncClient(timeout=20) as chat.http:
        chat.http.base_url = httpx.URL(f"http://127.0.0.1:{chat.place.port}")
        chat.serve(("champion", chat.prompt(), 100))
        try:
            yield chat
        finally:
            await chat.service.close()
            chat.gateway.settle()
    chat.gateway.close()


@pytest.fixture(scope="session")
def provider() -> Any:
    with running() as found:
        yield found


Run = Callable[..., Chatting]


@pytest.fixture
def run_chat(tmp_path: Path, provider: OpenLoopback) -> Run:
    """Return a function that runs a test with a gateway. policy: of the section llm."""
    provider.bill.clear()

    def run(
        test: Callable[[Chatting], Any], *, grants: Sequence[Grant] = (), traced: bool = False, **policy: Any
    ) -> Chatting:
        chat = Chatting(tmp_path, provider, Llm.model_validate(policy), grants)
        chat.traces = open_traces(SystemClock()) if traced else None

        async def whole() -> None:
            async with asyncio.timeout(20), chatting(chat):
                await test(chat)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole())
        return chat

    return run
