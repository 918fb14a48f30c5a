"""A streamed answer: its events as they came, each with what it adds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from trimtab.llm.completion import Completion
from trimtab.llm.upstream.chat_parts import Assembled, Delta, read_delta
from trimtab.llm.upstream.endpoint_pool import EndpointPool
from trimtab.llm.upstream.event_stream import EventReader, ServerEvent, TooLong
from trimtab.llm.upstream.pooled_connection import Broken, PooledConnection
from trimtab.llm.upstream.upstream_error import FailureKind, UpstreamError, kind_of_status

DONE = b"[DONE]"


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream.

    raw: its bytes as they came, with the empty line that ends it. data: its data; None for comments alone. delta: what
    it adds; None for comments and for the last event. is_done: it says that the stream is whole.
    """

    raw: bytes
    data: bytes | None = None
    delta: Delta | None = None
    is_done: bool = False


class AnswerStream:
    """The events of an answer whose first token has come, those before it among them; an asynchronous iterator.

    It ends after the event `[DONE]`, or where the answer ends after a finish_reason. It raises UpstreamError of the
    kind `cut` or `timeout` where it does not end so; what came until then stays in `completion`. Close it, or read it
    to the end.

    Attributes:
        attempts: how often the endpoint was asked.
        failed: kinds of the attempts before.
        headers: of the answer, names in lower case.
        first_token_ms: milliseconds from the call to the first token, with all attempts.
    """

    def __init__(
        self,
        pool: EndpointPool,
        connection: PooledConnection,
        *,
        started: float,
        ends: float,
        between: float,
        attempts: int,
        failed: tuple[str, ...],
    ) -> None:
        self._pool = pool
        self._connection: PooledConnection | None = connection
        self._loop = asyncio.get_running_loop()
        self._reader = EventReader()
        self._ready: deque[StreamEvent] = deque()
        self._assembled = Assembled()
        self._failure: UpstreamError | None = None
        self._ended = False
        self._started = started
        self._ends = ends
        self._between = between
        self._has_token = False
        self._asked_at: float | None = None
        """When the caller asked for what follows the last event with data: its own pauses do not count."""
        self.headers = connection.headers
        self.attempts = attempts
        self.failed = failed
        self.first_token_ms = 0.0
        self.latency_ms = 0.0

    async def open(self, deadline: float) -> None:
        """Wait for the first token, or for the end of an answer without one. Raises UpstreamError."""
        assert self._connection is not None
        self._connection.deadline = min(deadline, self._ends)
        while not self._has_token and not self._ended and self._failure is None:
            await self._read("llm.timeouts.first_token" if deadline < self._ends else "llm.timeouts.total")
        if self._failure is not None and not self._has_token:
            raise self._failure

    def __aiter__(self) -> AnswerStream:
        return self

    async def __anext__(self) -> StreamEvent:
        if not self._ready and not self._ended and self._failure is None and self._connection is not None:
            if self._asked_at is None:
                self._asked_at = self._loop.time()
            quiet = self._asked_at + self._between
            self._connection.deadline = min(quiet, self._ends)
            limit = "llm.timeouts.between_tokens" if quiet < self._ends else "llm.timeouts.total"
            while not self._ready and not self._ended and self._failure is None:
                await self._read(limit)
        if self._ready:
            found = self._ready.popleft()
            if found.data is not None:
                self._asked_at = None
            return found
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    @property
    def completion(self) -> Completion:
        """The answer as far as it came."""
        found = self._assembled.completion()
        found.first_token_ms, found.latency_ms = self.first_token_ms, self.latency_ms
        found.attempts, found.failed = self.attempts, self.failed
        return found

    def close(self) -> None:
        """Hang up at once, unless the answer has ended."""
        self._leave(lambda connection: connection.close())
        self._ready.clear()
        self._ended = True

    async def _read(self, limit: str) -> None:
        """Read on until something came. What fails waits in `_failure` behind the events before it."""
        connection = self._connection
        assert connection is not None
        try:
            segment = await connection.part()
        except TimeoutError:
            self._fail("timeout", f"no token in time ({limit})")
            return
        except Broken as error:
            if self._connection is None:  # closed by another task
                return
            self._fail("cut", f"its answer ended too early: {error}")
            return
        except BaseException:
            self.close()
            raise
        try:
            events = self._reader.feed(segment)
        except TooLong as error:
            self._fail("cut", str(error))
            return
        for event in events:
            self._take(event)
            if self._ended or self._failure is not None:
                return
        if not segment:
            self._end()

    def _take(self, event: ServerEvent) -> None:
        if event.data is None or not event.data.strip():
            self._ready.append(StreamEvent(event.raw))
            return
        if event.data.startswith(DONE):
            self._ready.append(StreamEvent(event.raw, event.data, None, True))
            self._finish()
            return
        try:
            delta = read_delta(event.data)
        except msgspec.DecodeError:
            self._fail("cut", "a chunk of its answer is no JSON of a chat completion", event.data)
            return
        if delta.error is not None or event.name == "error":
            kind: FailureKind = "cut" if self._has_token else _kind_of(delta.error)
            self._fail(kind, "it sent an error in its stream", event.data)
            return
        self._assembled.add(delta)
        if not self._has_token and (delta.is_token or delta.finish_reason is not None):
            self._has_token = True
            self.first_token_ms = (self._loop.time() - self._started) * 1e3
        self._ready.append(StreamEvent(event.raw, event.data, delta))

    def _end(self) -> None:
        """The body has ended without [DONE]: whole after a finish_reason, too early without one."""
        rest = self._reader.rest()
        if rest is not None:
            is_done = rest.data is not None and rest.data.startswith(DONE)
            self._ready.append(StreamEvent(rest.raw, None, None, is_done))
            if is_done:
                self._finish()
                return
        if self._assembled.finish_reason is None:
            self._fail("cut", "its answer ended without a finish_reason")
        else:
            self._finish()

    def _finish(self) -> None:
        self._ended = True
        self._leave(self._pool.put_back_when_ended)

    def _fail(self, kind: FailureKind, reason: str, data: bytes = b"") -> None:
        self._failure = UpstreamError(
            kind, reason, endpoint=self._pool.name, status=200, upstream_text=data.decode("utf-8", "replace")
        )
        self._failure.attempts, self._failure.failed = self.attempts, self.failed
        self._leave(lambda connection: connection.close())

    def _leave(self, how: Callable[[PooledConnection], None]) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.latency_ms = (self._loop.time() - self._started) * 1e3
            how(connection)
            self._pool.end()


def _kind_of(error: object) -> FailureKind:
    """Return the kind of an error object that came before any token."""
    if isinstance(error, dict):
        for key in ("code", "status", "status_code"):
            text = str(error.get(key))
            if text.isdigit() and 300 <= int(text) < 600:
                return kind_of_status(int(text))
        if "rate_limit" in f"{error.get('type')} {error.get('code')}":
            return "429"
        if "invalid_request" in f"{error.get('type')} {error.get('code')}":
            return "4xx"
    return "5xx"
