"""The gateway of prompts: takes chats in OpenAI's shape, asks endpoints, answers, and logs each turn.

A turn keeps the table of versions that it began with, so that a swap of revisions never changes an answer under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from trimtab.bundle.prompt_spec import EndpointSpec, TargetSpec
from trimtab.clock import to_micros
from trimtab.llm.completion import Completion
from trimtab.llm.money.leases import Hold
from trimtab.llm.money.spend_scopes import Caller, RateLimited
from trimtab.llm.upstream.answer_stream import AnswerStream
from trimtab.llm.upstream.upstream_client import Embeddings, Upstream
from trimtab.policy.llm.section_llm import Llm
from trimtab.serving.chat import turn_cache
from trimtab.serving.chat.call_books import CallBooks, over_rate
from trimtab.serving.chat.chat_errors import ChatRefused, no_prompt, refusal
from trimtab.serving.chat.chat_request import ChatRequest, RequestRules, read_request
from trimtab.serving.chat.chat_turn import Turn, VersionTurn
from trimtab.serving.chat.conversations import HEADER, conversation_of, sticky_key
from trimtab.serving.chat.direct_models import DirectModels
from trimtab.serving.chat.embeddings import as_chat, completion_of, embedding_turn, encode_embeddings, read_embedding
from trimtab.serving.chat.loaded_prompt import LoadedPrompt
from trimtab.serving.chat.shadow_turns import DROPPED, ShadowTurns
from trimtab.serving.chat.stream_relay import StreamRelay
from trimtab.serving.chat.target_calls import Begun, TargetCalls
from trimtab.serving.chat.turn_cache import TurnCache
from trimtab.serving.chat.turn_log import TurnLog
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.routing import ModelTable, Variant, point
from trimtab.serving.endpoints import JSON, Access, Answer, Call, Write
from trimtab.serving.orders import Grant
from trimtab.serving.requests import Refused
from trimtab.units import MICROS

EVENTS = b"text/event-stream; charset=utf-8"
PING_S = 15.0
"""A stream that is silent for so long gets a comment."""
LOOK_S = 1.0
TIDY_S = 60.0
DRAIN_S = 30.0
"""How long an answer is read on after its client has left, where `llm.disconnect` is drain."""
CLOSING_S = 5.0
"""How long a worker that ends waits for answers that are read on."""

T = TypeVar("T")

logger = logging.getLogger(__name__)
_decode, _encode = msgspec.json.Decoder(dict[str, Any]).decode, msgspec.json.Encoder().encode


def _pinned(table: ModelTable, version: str) -> Variant:
    try:
        return cast(Variant, table.variant(version))
    except Refused:
        text = f"the prompt '{table.model}' serves no version '{version:.100}'; it serves {table.versions}"
        raise ChatRefused(404, text, code="model_not_found", param="model") from None


class ChatService:
    """Answers chats. Lives on one event loop. endpoints: that clients may name, where `llm.passthrough` lets them."""

    def __init__(
        self,
        gateway: Gateway,
        access: Access | None,
        llm: Llm,
        upstream: Upstream,
        books: CallBooks,
        log: TurnLog,
        endpoints: Mapping[str, EndpointSpec] | None = None,
    ) -> None:
        self.gateway = gateway
        self._access = access
        self._llm = llm
        self._upstream = upstream
        self._books = books
        self._log = log
        self._calls = TargetCalls(upstream, books, llm, gateway.metrics.fall_back)
        self._rules = RequestRules(overrides=frozenset(llm.overrides), most_bytes=llm.limits.input)
        self.direct = DirectModels((endpoints or {}) if llm.passthrough else {})
        self._total_s = llm.timeouts.total / MICROS["s"]
        self._cache = TurnCache(llm.cache, log.keyed)
        self._shadows = ShadowTurns(
            self._shadow, gateway.metrics, sample=llm.shadow.sample, most=llm.shadow.queue, total_s=self._total_s
        )
        self._relays: set[StreamRelay] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticking = asyncio.create_task(self._tick())
        gateway.on_swap.append(self._withdraw)

    def grant(self, call: Call, verb: Any) -> Grant | None:
        """Return what the token of a request opens; None where none is asked for."""
        return None if self._access is None else self._access.grant(call.headers, verb)

    def check_open(self, grant: Grant | None, model: str) -> None:
        """Raise Refused (403) unless a token opens a prompt."""
        if grant is not None and self._access is not None:
            self._access.open(grant, model)

    async def chat(self, call: Call) -> Answer:
        """Answer POST /v1/chat/completions."""
        try:
            grant = self.grant(call, "chat")
            rules = self._rules_of(grant)
            request = await self.gateway.decoding.read(
                read_request, call.body, rules, passthrough=self._llm.passthrough
            )
            turn = self._begin(call, request, grant)
            found = await self._cached(turn)
            return found or await (self._streamed(turn) if request.stream else self._whole(turn))
        except Refused as refused:
            return self._refuse(refused)

    async def embed(self, call: Call) -> Answer:
        """Answer POST /v1/embeddings."""
        try:
            grant = self.grant(call, "embed")
            request = await self.gateway.decoding.read(read_embedding, call.body, self._rules_of(grant).most_bytes)
            chat = as_chat(request)
            turn = self._begin(call, chat, grant, self.direct.table(request.model))
            turn.versions.append(
                embedding_turn(turn.variant, chat, cast(LoadedPrompt, turn.variant.bundle).prompt.target)
            )

            async def ask(target: TargetSpec, work: VersionTurn) -> Embeddings:
                limits = self._llm.timeouts
                return await self._upstream.embed(target, request.texts, timeouts=limits, attempts=1, **request.params)

            try:
                found, begun = await self._calls.first(turn, ask)
                begun.work.completion = completion_of(found)
                self._books.settle(begun.work, begun.target, begun.hold, begun.work.completion)
                await self._finish(turn, answered=False)
            except asyncio.CancelledError:
                turn.gone = True
                raise
            finally:
                await self._finish(turn, answered=True)
            return Answer(200, encode_embeddings(request, found), JSON, self._books.headers(begun.hold))
        except Refused as refused:
            return self._refuse(refused)

    def _refuse(self, refused: Refused) -> Answer:
        self.gateway.metrics.refuse(refused.status)
        return refusal(refused)

    async def close(self) -> None:
        """End what runs beside the answers, and book it."""
        self._ticking.cancel()
        await self._shadows.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._upstream.close()
        await asyncio.to_thread(self._books.close)

    def _rules_of(self, grant: Grant | None) -> RequestRules:
        limits = None if grant is None else self._llm.token_limits.get(grant.limits)
        return self._rules if limits is None else msgspec.structs.replace(self._rules, most_bytes=limits.input)

    def _begin(self, call: Call, request: ChatRequest, grant: Grant | None, table: ModelTable | None = None) -> Turn:
        """Choose the version of a turn. table: None: that of the model. Raises Refused."""
        self.check_open(grant, request.model)
        token = "" if grant is None else grant.name
        if table is None:
            direct = self._llm.passthrough and "/" in request.model
            table = self.direct.table(request.model) if direct else self._prompt(request.model, grant)
        conversation = conversation_of(request, call.header(HEADER), token)
        if not table.revision:
            variant, route = table.champion, "direct"
        elif request.version is None:
            key = sticky_key(request, conversation, token, self._llm.sticky)
            variant, route = table.variant_at(point(table.model, key)), "split"
        else:
            if grant is not None and "pin" not in grant.verbs:
                raise ChatRefused(
                    403, f"the token '{token}' does not allow 'pin', so it may not name the version of a prompt"
                )
            found = _pinned(table, request.version)
            variant, route = found, "pinned"
        return Turn(
            id=self._log.new_id(token),
            request=request,
            table=table,
            variant=variant,
            route=route,
            caller=Caller(
                prompt=table.model,
                token=token,
                tenant=token,
                user="" if not request.user else self._log.hashed("user", f"{token}\x1f{request.user}"),
                conversation=self._log.hashed("conversation", conversation),
                budget="" if grant is None else grant.budget,
                limits="" if grant is None else grant.limits,
            ),
            conversation=conversation,
            at=to_micros(self.gateway.clock.now()),
            received_ns=call.received_ns,
            ends=asyncio.get_running_loop().time() + self._total_s,
        )

    def _prompt(self, name: str, grant: Grant | None) -> ModelTable:
        """Return the table of a prompt. Raises Refused (404, 503)."""
        try:
            return self.gateway.table.model(name)
        except Refused as refused:
            if refused.status != 404 or name in self.gateway.table.held:
                raise
            raise no_prompt(name, self.opened(grant)) from None

    def opened(self, grant: Grant | None) -> list[str]:
        """Return the prompts that a token opens."""
        names = sorted(self.gateway.table.models)
        return [name for name in names if grant is None or not grant.models or name in grant.models]

    # answers from the cache

    async def _cached(self, turn: Turn) -> Answer | None:
        """Return the answer to the very same request; None where it is not kept. Raises ChatRefused."""
        if not self._llm.cache.enabled:
            return None
        work = turn.begin(turn.variant, self._llm.limits.output_tokens)
        turn.cache_key = self._cache.key(turn, work)
        found = self._cache.find(turn.cache_key)
        if found is None:
            return None
        try:
            hold = await self._books.book_nothing(turn)
        except RateLimited as error:
            raise over_rate(error) from None
        work.cache_hit, work.completion = True, turn_cache.completion_of(found)
        work.usage = work.completion.usage
        work.problem(work.completion)
        await self._finish(turn, answered=False)
        headers = [*self._headers(turn, hold), (b"x-trimtab-cache", b"hit")]
        if self._llm.redact.outbound:
            found = found._replace(text=self._log.outbound().text(found.text))
        if not turn.request.stream:
            return Answer(200, turn_cache.whole_body(turn, found), JSON, headers)

        async def replay(write: Write) -> None:
            for event in turn_cache.events(turn, found):
                await write(event)

        return Answer(200, b"", EVENTS, headers, replay)

    # whole answers

    async def _whole(self, turn: Turn) -> Answer:
        if self._llm.disconnect == "cancel":
            return await self._whole_now(turn)
        task = self._later(self._whole_now(turn))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            turn.gone = True
            asyncio.get_running_loop().call_later(DRAIN_S, task.cancel)
            raise

    async def _whole_now(self, turn: Turn) -> Answer:
        try:
            completion, begun = await self._fitting(turn)
        except asyncio.CancelledError:
            turn.gone = True
            raise
        else:
            await self._finish(turn, answered=False)
            body = {**_decode(completion.raw), "id": turn.id}
            if self._llm.redact.outbound:
                body = self._log.outbound().body(body)
            return Answer(200, _encode(body), JSON, self._headers(turn, begun.hold))
        finally:
            await self._finish(turn, answered=True)

    async def _fitting(self, turn: Turn) -> tuple[Completion, Begun]:
        """Return an answer that fits the prompt, as `llm.output` says. Raises ChatRefused."""
        invalid, retries = self._llm.output.invalid, self._llm.output.retries
        while True:
            completion, begun = await self._calls.first(turn, self._complete)
            work = begun.work
            work.completion = completion
            self._books.settle(work, begun.target, begun.hold, completion)
            problem = work.problem(completion)
            if not problem or invalid == "pass":
                self._cache.put(turn.cache_key, work, completion)
                return completion, begun
            if invalid == "fail" or retries == 0:
                work.error = "invalid_output"
                raise ChatRefused(502, problem, code="invalid_output")
            retries -= 1

    async def _complete(self, target: TargetSpec, work: VersionTurn) -> Completion:
        return await self._upstream.complete(target, work.body, timeouts=self._llm.timeouts, attempts=1)

    # streamed answers

    async def _streamed(self, turn: Turn) -> Answer:
        try:
            stream, begun = await self._calls.first(turn, self._open)
        except BaseException as error:
            turn.gone = isinstance(error, asyncio.CancelledError)
            await self._finish(turn, answered=True)
            raise
        masks = self._log.outbound() if self._llm.redact.outbound else None
        checks = self._llm.output.invalid != "pass"
        relay = StreamRelay(turn, begun, stream, self._settle, checks=checks, masks=masks)
        headers = [*self._headers(turn, begun.hold), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        return Answer(200, b"", EVENTS, headers, partial(self._relay, relay))

    async def _open(self, target: TargetSpec, work: VersionTurn) -> AnswerStream:
        return await self._upstream.stream(target, work.body, timeouts=self._llm.timeouts, attempts=1)

    async def _relay(self, relay: StreamRelay, write: Write) -> None:
        if self._llm.disconnect == "cancel":
            await self._relay_now(relay, write)
        else:  # reading must not be cancelled with the client
            await asyncio.shield(self._later(self._relay_now(relay, write)))

    async def _relay_now(self, relay: StreamRelay, write: Write) -> None:
        """Send a stream to its client, and book and log the turn, whatever becomes of it."""
        self._relays.add(relay)
        self.gateway.metrics.streams += 1
        try:
            await relay.run(write)
        except ConnectionResetError:
            if self._llm.disconnect == "cancel":
                raise
            await relay.read_on(DRAIN_S)
        finally:
            self._relays.discard(relay)
            self.gateway.metrics.streams -= 1
            relay.stream.close()
            self._settle(relay)
            await self._finish(relay.turn, answered=True)

    def _settle(self, relay: StreamRelay) -> None:
        """Book a stream, once."""
        if not relay.settled:
            relay.settled = True
            work, target, hold = relay.begun
            work.completion = relay.stream.completion
            self._cache.put(relay.turn.cache_key, work, work.completion)
            self._books.settle(work, target, hold, work.completion)

    def _withdraw(self) -> None:
        """End the streams of versions that a rollback has withdrawn."""
        for relay in list(self._relays):
            table = self.gateway.table.models.get(relay.turn.table.model)
            if table is not None and table.withdraws(relay.turn.last.variant.bundle.version):
                relay.withdraw()

    async def _tick(self) -> None:
        """Send a comment to clients whose stream is silent, and let old text get into the tables, which delete it."""
        tidy_at = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            now = asyncio.get_running_loop().time()
            if now >= tidy_at:
                tidy_at = now + TIDY_S
                self._later(asyncio.to_thread(self._log.end_old_segments))
            for relay in list(self._relays):
                if not relay.writing and now - relay.wrote_at >= PING_S:
                    self._later(relay.ping())

    # both

    def _headers(self, turn: Turn, hold: Hold) -> list[tuple[bytes, bytes]]:
        variant = turn.last.variant
        return [
            (b"x-trimtab-version", b"%d" % variant.bundle.version),
            (b"x-trimtab-revision", b"%d" % turn.table.revision),
            (b"x-trimtab-role", variant.role.encode()),
            *self._books.headers(hold),
        ]

    async def _finish(self, turn: Turn, *, answered: bool) -> None:
        """Log a turn, once. answered: its client does not wait for the log."""
        if turn.ended or not turn.versions:
            return
        turn.ended = True
        if turn.gone:
            turn.last.error = turn.last.error or "client_gone"
        turn.last.latency_us = (time.perf_counter_ns() - turn.received_ns) // 1000
        await self._log.write(turn, answered=answered)
        self._shadows.offer(turn)

    async def _shadow(self, turn: Turn) -> None:
        """Let a shadow answer a turn. Raises ChatRefused; a turn that was refused for its budget is not logged."""
        try:
            await self._fitting(turn)
        except ChatRefused as refused:
            turn.ended = refused.code in DROPPED
            raise
        finally:
            await self._finish(turn, answered=True)

    def _later(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
