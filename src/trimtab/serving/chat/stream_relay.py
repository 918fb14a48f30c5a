"""Hands a stream on to its client, one write an event, and ends it so that client libraries see how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from trimtab.llm.completion import Usage
from trimtab.llm.upstream.answer_stream import AnswerStream
from trimtab.llm.upstream.upstream_error import UpstreamError
from trimtab.serving.chat.chat_errors import interruption
from trimtab.serving.chat.chat_turn import Turn
from trimtab.serving.chat.event_relay import DONE, PING, chunk, decode_chunk, encode_event, with_id
from trimtab.serving.chat.outbound_masks import OutboundMasks
from trimtab.serving.chat.target_calls import Begun
from trimtab.serving.endpoints import Write
from trimtab.serving.http1.exchange import Gone

UNKNOWN_TOOL = "the answer calls the tool '{name}', which the prompt does not have"
LATE_S = 1.0
"""How long after the time of a turn a slow reader's stream ends; a quick reader's then ended with an error event."""


class StreamRelay:
    """One stream on its way to a client.

    checks: whether its end is withheld when it does not fit the prompt. masks: of its texts; None: they stay as they
    are. settle: books it, so that its usage is known.
    """

    def __init__(
        self,
        turn: Turn,
        begun: Begun,
        stream: AnswerStream,
        settle: Callable[[StreamRelay], None],
        *,
        checks: bool,
        masks: OutboundMasks | None = None,
    ) -> None:
        self.turn = turn
        self.begun = begun
        self.stream = stream
        self.wrote_at = asyncio.get_running_loop().time()
        self.writing = False
        """Whether a write waits for the client."""
        self.settled = False
        self._settle = settle
        self._checks = checks
        self._masks = masks
        self._known = begun.work.known_tools
        self._id = turn.id.encode()
        self._withdrawn = False
        self._task: asyncio.Task[Any] | None = None
        self._write: Write | None = None
        self._had_usage = False

    async def run(self, write: Write) -> None:
        """Send all events. Raises ConnectionResetError and CancelledError when the client is gone."""
        self._task, self._write = asyncio.current_task(), write
        work = self.begun.work
        try:
            async with asyncio.timeout_at(self.turn.ends + LATE_S):
                await self._events()
                await self._end()
        except UpstreamError as error:
            work.error = "upstream_timeout" if error.kind == "timeout" else "stream_interrupted"
            await self._send(interruption("stream_interrupted", f"endpoint '{error.endpoint}' broke its answer off"))
        except _Unfit as unfit:
            work.error = "invalid_output"
            await self._send(interruption("invalid_output", str(unfit)))
        except TimeoutError:
            work.error = "slow_reader"
            raise Gone("the client read too slowly") from None
        except asyncio.CancelledError:
            if not self._withdrawn or self._task is None:
                work.error = "client_gone"
                raise
            self._task.uncancel()
            work.error = "withdrawn"
            await self._send(interruption("withdrawn", "this version was withdrawn while it answered"))
        except ConnectionResetError:
            work.error = "client_gone"
            raise

    async def read_on(self, seconds: float) -> None:
        """Read the rest of the answer, whose client is gone, for `seconds` at most: then its bill is exact."""
        with suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in self.stream:
                    pass

    async def ping(self) -> None:
        """Send a comment. A client that is gone is found out by the stream itself."""
        if self._write is not None and not self.writing:
            with suppress(ConnectionResetError):
                await self._send(PING)

    def withdraw(self) -> None:
        """End the stream by an error event."""
        if self._task is not None and not self._withdrawn:
            self._withdrawn = True
            self._task.cancel()

    async def _events(self) -> None:
        with_usage = self.turn.request.with_usage
        async for event in self.stream:
            delta = event.delta
            if event.is_done:
                return
            if delta is not None:
                if delta.tool_calls and self._checks:
                    self._check_tools(delta.tool_calls)
                if delta.usage is not None:
                    self._had_usage = True
                if delta.only_usage and not with_usage:
                    continue
            if self._masks is None or event.data is None:
                await self._send(with_id(event, self._id))
                continue
            body = {**decode_chunk(event.data), "id": self.turn.id}
            for masked in self._masks.event(body):
                await self._send(encode_event(masked))

    async def _end(self) -> None:
        """Send the end of an answer that is whole, or say that it does not fit the prompt."""
        work = self.begun.work
        problem = work.problem(self.stream.completion)
        if problem and self._checks:
            raise _Unfit(problem)
        if self.turn.request.with_usage and not self._had_usage:
            self._settle(self)
            if work.usage is not None:
                completion = self.stream.completion
                await self._send(chunk(self.turn.id, completion.model, self.turn.at // 1_000_000, [], told(work.usage)))
        await self._send(DONE)

    def _check_tools(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Raise _Unfit for a call of a tool that the prompt does not have, before the client gets it."""
        for call in calls:
            name = (call.get("function") or {}).get("name")
            if name and name not in self._known:
                self.begun.work.format_ok = False
                raise _Unfit(UNKNOWN_TOOL.format(name=str(name)[:60]))

    async def _send(self, data: bytes) -> None:
        assert self._write is not None
        self.writing = True
        try:
            await self._write(data)
        finally:
            self.writing = False
            self.wrote_at = asyncio.get_running_loop().time()


class _Unfit(Exception):
    """The answer does not fit the prompt."""


def told(usage: Usage) -> dict[str, Any]:
    """Return usage in OpenAI's shape; `estimated` where the endpoint reported none."""
    found: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
    return found if usage.kind == "reported" else {**found, "estimated": True}
