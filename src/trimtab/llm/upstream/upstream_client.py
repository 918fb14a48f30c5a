"""The client of all endpoints: whole and streamed answers, embeddings, retries before the first token.

httptools parses, msgspec reads and writes JSON, and each request is one write: a gateway that asks hundreds of times a
second pays for little else than the sockets.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from random import Random
from typing import Any, TypeVar

import msgspec

from trimtab.bundle.prompt_spec import EndpointSpec, TargetSpec
from trimtab.clock import Clock, SystemClock
from trimtab.llm.completion import Completion, Usage
from trimtab.llm.upstream.answer_stream import AnswerStream
from trimtab.llm.upstream.chat_parts import read_completion, usage_of
from trimtab.llm.upstream.endpoint_pool import EndpointPool
from trimtab.llm.upstream.pooled_connection import Broken, PooledConnection
from trimtab.llm.upstream.upstream_error import FailureKind, UpstreamError, kind_of_status
from trimtab.policy.llm.section_llm import CallRetry, CallTimeouts
from trimtab.units import MICROS

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
FIRST_PAUSE_S = 0.25
"""Before the second attempt, where the endpoint names no time. It doubles with each attempt; half of it is drawn."""
LONGEST_PAUSE_S = 30.0
"""An endpoint that wants to be asked later than that is not asked again."""
ERROR_S = 5.0
"""How long the text of an error may take to come."""
MOST_ERROR_TEXT = 64 * 2**10
Found = TypeVar("Found")


class Embeddings(msgspec.Struct, kw_only=True):
    """Vectors of texts, in their order. usage: None where the endpoint reported none."""

    vectors: list[list[float]]
    model: str = ""
    usage: Usage | None = None
    raw: bytes = b""


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Embedded(msgspec.Struct):
    data: list[_Vector]
    model: str = ""
    usage: Any = None


def own_url(endpoint: EndpointSpec) -> str:
    """Return the URL of an endpoint as it is defined."""
    return endpoint.url


class Upstream:
    """Asks endpoints. Belongs to one event loop; close it there.

    timeouts, retry: of the policy's section `llm`. locate: gives the URL of an endpoint, such as
    `loopback.starting.resolved`. tls: makes the context of TLS; by default the one of this machine.
    """

    def __init__(
        self,
        timeouts: CallTimeouts | None = None,
        retry: CallRetry | None = None,
        *,
        locate: Callable[[EndpointSpec], str] = own_url,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        clock: Clock | None = None,
        chance: Random | None = None,
    ) -> None:
        self._timeouts = timeouts or CallTimeouts()
        self._retry = retry or CallRetry()
        self._locate = locate
        self._tls = cache(tls)
        self._clock = clock or SystemClock()
        self._chance = chance or Random()
        self._pools: dict[tuple[str, str, str | None, int], EndpointPool] = {}

    async def complete(
        self,
        target: TargetSpec,
        body: Mapping[str, Any],
        *,
        timeouts: CallTimeouts | None = None,
        attempts: int | None = None,
    ) -> Completion:
        """Return a whole answer that is not streamed; only `total` limits how long it may take.

        body: as in OpenAI's interface; `model` is set, `stream` taken out. attempts: in the place of the policy's.
        Raises UpstreamError, and StageError when the endpoint's secret cannot be read.
        """
        sent = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
        raw, started, tried = await self._whole(target, CHAT, sent, timeouts or self._timeouts, attempts)
        try:
            found = read_completion(raw)
        except msgspec.DecodeError:
            raise _unreadable(target, raw, tried) from None
        found.attempts, found.failed = len(tried) + 1, tried
        found.latency_ms = found.first_token_ms = (asyncio.get_running_loop().time() - started) * 1e3
        return found

    async def embed(
        self,
        target: TargetSpec,
        texts: Sequence[str],
        *,
        timeouts: CallTimeouts | None = None,
        attempts: int | None = None,
        **params: Any,
    ) -> Embeddings:
        """Return the vectors of texts. params: further ones of the request. Raises as `complete` does."""
        sent = {"encoding_format": "float", **params, "input": list(texts)}
        raw, _, tried = await self._whole(target, EMBEDDINGS, sent, timeouts or self._timeouts, attempts)
        try:
            found = msgspec.json.decode(raw, type=_Embedded)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _unreadable(target, raw, tried) from None
        if len(found.data) != len(texts):
            raise _unreadable(target, raw, tried)
        vectors = [each.embedding for each in sorted(found.data, key=lambda each: each.index)]
        return Embeddings(vectors=vectors, model=found.model, usage=usage_of(found.usage), raw=raw)

    async def stream(
        self,
        target: TargetSpec,
        body: Mapping[str, Any],
        *,
        timeouts: CallTimeouts | None = None,
        attempts: int | None = None,
    ) -> AnswerStream:
        """Return a streamed answer once its first token has come; all that fails before may be asked again.

        Usage is asked for, unless the endpoint has refused the parameter `stream_options`. Arguments and errors are
        those of `complete`.
        """
        limits = timeouts or self._timeouts
        pool = self._pool(target.endpoint)
        started = asyncio.get_running_loop().time()
        ends = started + limits.total / MICROS["s"]

        async def once(failed: tuple[str, ...]) -> AnswerStream:
            sent = {**body, "model": target.model, "stream": True}
            sent.pop("stream_options", None)
            if pool.takes_stream_options:
                sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
            await pool.begin(ends)
            try:
                first = asyncio.get_running_loop().time() + limits.first_token / MICROS["s"]
                connection = await self._asked(pool, CHAT, sent, limits, min(first, ends), ends)
            except BaseException:
                pool.end()
                raise
            found = AnswerStream(
                pool,
                connection,
                started=started,
                ends=ends,
                between=limits.between_tokens / MICROS["s"],
                attempts=len(failed) + 1,
                failed=failed,
            )
            try:
                await found.open(first)
            except BaseException:
                found.close()
                raise
            return found

        found, _ = await self._attempts(pool, once, ends, attempts)
        return found

    def close(self) -> None:
        """Close the idle connections."""
        for pool in self._pools.values():
            pool.close()

    async def _whole(
        self, target: TargetSpec, path: str, body: Mapping[str, Any], limits: CallTimeouts, attempts: int | None
    ) -> tuple[bytes, float, tuple[str, ...]]:
        """Return a whole body, when the call began, and the kinds of the attempts before."""
        pool = self._pool(target.endpoint)
        started = asyncio.get_running_loop().time()
        ends = started + limits.total / MICROS["s"]
        sent = {**body, "model": target.model}

        async def once(failed: tuple[str, ...]) -> bytes:
            await pool.begin(ends)
            try:
                connection = await self._asked(pool, path, sent, limits, ends, ends)
                try:
                    raw = await connection.whole()
                except TimeoutError:
                    raise _late(pool, "llm.timeouts.total") from None
                except Broken as error:
                    raise UpstreamError(
                        "cut", f"its answer ended too early: {error}", endpoint=pool.name, status=200
                    ) from None
                finally:
                    pool.put_back(connection)
                return raw
            finally:
                pool.end()

        raw, failed = await self._attempts(pool, once, ends, attempts)
        return raw, started, failed

    async def _attempts(
        self,
        pool: EndpointPool,
        once: Callable[[tuple[str, ...]], Awaitable[Found]],
        ends: float,
        most: int | None,
    ) -> tuple[Found, tuple[str, ...]]:
        """Ask until an answer begins, as often as the policy allows."""
        most = self._retry.attempts if most is None else most
        failed: tuple[str, ...] = ()
        while True:
            try:
                return await once(failed), failed
            except UpstreamError as error:
                error.attempts, error.failed = len(failed) + 1, failed
                pool.is_lost = error.kind == "connect"
                if pool.takes_stream_options and _refuses_stream_options(error):
                    pool.takes_stream_options = False
                    continue
                pause = self.pause_before(error, len(failed))
                if len(failed) + 1 >= most or pause is None or asyncio.get_running_loop().time() + pause >= ends:
                    raise
                failed = (*failed, error.kind)
            await asyncio.sleep(pause)

    def pause_before(self, error: UpstreamError, before: int) -> float | None:
        """Return the seconds until the next attempt; None for an error that is not asked again."""
        kind = "connect" if error.kind == "cut" else error.kind  # before the first token it is one of connections
        if kind not in self._retry.on:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_PAUSE_S else None
        return min(FIRST_PAUSE_S * 2.0**before, LONGEST_PAUSE_S) * (0.5 + self._chance.random() / 2)

    async def _asked(
        self,
        pool: EndpointPool,
        path: str,
        body: Mapping[str, Any],
        limits: CallTimeouts,
        deadline: float,
        ends: float,
    ) -> PooledConnection:
        """Return a connection on which the head of an answer with status 200 came. Raises UpstreamError.

        A kept connection that the server had closed meanwhile is replaced once: it gave no byte of an answer.
        """
        encoded = msgspec.json.encode(body)
        head = pool.head(path)
        seconds = limits.connect / MICROS["s"]
        connection = await pool.connection(seconds)
        while True:
            connection.deadline = deadline
            try:
                connection.send(head, b"%d\r\n\r\n" % len(encoded), encoded)
                await connection.head()
            except TimeoutError:
                sent = connection.is_sent
                connection.close()
                raise _late(pool, "llm.timeouts." + ("total" if deadline >= ends else "first_token"), sent) from None
            except Broken as error:
                stale = error.fresh and connection.requests > 1
                connection.close()
                if not stale:
                    kind: FailureKind = "connect" if error.fresh else "cut"
                    raise UpstreamError(kind, f"no answer: {error}", endpoint=pool.name) from None
            except BaseException:
                connection.close()
                raise
            else:
                if connection.status == 200 and b"content-encoding" not in connection.headers:
                    return connection
                raise await self._refusal(pool, connection)
            connection = await pool.connection(seconds, new=True)

    async def _refusal(self, pool: EndpointPool, connection: PooledConnection) -> UpstreamError:
        """Return the error that an answer without status 200 is, with its text."""
        loop = asyncio.get_running_loop()
        connection.deadline = min(connection.deadline, loop.time() + ERROR_S)
        headers, status, raw = connection.headers, connection.status, b""
        try:
            while (part := await connection.part()) and len(raw) < MOST_ERROR_TEXT:
                raw += part
            pool.put_back(connection)
        except (Broken, TimeoutError):
            connection.close()
        except BaseException:
            connection.close()
            raise
        if status == 401:
            pool.forget_key()
        if 200 <= status < 300:
            coding = headers.get(b"content-encoding")
            reason = f"status {status}; expected 200" if coding is None else "its answer is compressed, unasked"
            return UpstreamError("cut", reason, endpoint=pool.name, status=status)
        reason = f"status {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return UpstreamError(
            kind_of_status(status),
            reason,
            endpoint=pool.name,
            status=status,
            retry_after=self._retry_after(headers),
            upstream_text=raw[:MOST_ERROR_TEXT].decode("utf-8", "replace"),
        )

    def _retry_after(self, headers: Mapping[bytes, bytes]) -> float | None:
        """Return the seconds of retry-after-ms, or of Retry-After: a number or a date (RFC 9110, 10.2.3)."""
        for name, unit in ((b"retry-after-ms", 1e-3), (b"retry-after", 1.0)):
            text = headers.get(name, b"").decode("latin-1")
            try:
                seconds = float(text) * unit
            except ValueError:
                continue
            if 0 <= seconds < float("inf"):
                return seconds
        try:
            at = parsedate_to_datetime(headers.get(b"retry-after", b"").decode("latin-1"))
            return max((at - self._clock.now()).total_seconds(), 0.0)
        except (ValueError, TypeError):
            return None

    def _pool(self, endpoint: EndpointSpec) -> EndpointPool:
        """Return the connections of an endpoint, which is located once, and again when it could not be reached."""
        key = (endpoint.name, endpoint.url, endpoint.key, endpoint.concurrent)
        found = self._pools.get(key)
        if found is not None and not found.is_lost:
            return found
        url = self._locate(endpoint)
        if found is None or found.url != url:
            found = self._pools[key] = EndpointPool(endpoint, url, self._tls)
        found.is_lost = False
        return found


def _late(pool: EndpointPool, limit: str, sent: bool = True) -> UpstreamError:
    return UpstreamError("timeout", f"no answer in time ({limit})", endpoint=pool.name, sent=sent)


def _refuses_stream_options(error: UpstreamError) -> bool:
    return error.status in (400, 404, 422) and "stream_options" in error.upstream_text


def _unreadable(target: TargetSpec, raw: bytes, failed: tuple[str, ...]) -> UpstreamError:
    error = UpstreamError(
        "cut",
        "its answer is not what was asked for",
        endpoint=target.endpoint.name,
        status=200,
        upstream_text=raw[:MOST_ERROR_TEXT].decode("utf-8", "replace"),
    )
    error.attempts, error.failed = len(failed) + 1, failed
    return error
