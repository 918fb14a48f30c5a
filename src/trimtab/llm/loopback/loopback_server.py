"""The loopback provider as an HTTP server: chat completions with and without stream, embeddings, models, its bill."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec

from trimtab.clock import Clock, SystemClock
from trimtab.errors import nearest
from trimtab.llm.loopback.fault_modes import HEADER, Faults, parse_faults
from trimtab.llm.loopback.generated import Generated, generate, message_of, usage_of_call
from trimtab.llm.loopback.loopback_bill import Bill, BilledCall
from trimtab.llm.loopback.stand_in_models import MODELS
from trimtab.llm.loopback.word_pieces import draw, pieces_of, tokens_of, vector_of

EMBEDDING, DIMENSIONS = "embedding", 256
SEGMENT_S = 0.002
"""Pause between two segments of an answer that is sent in several."""
MOST_BODY = 64 * 2**20


class Refused(Exception):
    """A request that gets an error in OpenAI's shape."""

    def __init__(self, status: int, text: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        kinds = {404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.error = {"message": text, "type": kind, "param": param, "code": code}


class LoopbackProvider:
    """Answers requests. Belongs to one event loop.

    seed: with model and messages it decides each answer. clock: dates answers. calls: how often each model was asked,
    with its faults.
    """

    def __init__(self, seed: int = 0, *, clock: Clock | None = None) -> None:
        self.seed = seed
        self.bill = Bill()
        self.clock = clock or SystemClock()
        self.calls = Counter[str]()
        self.asked = Counter[str]()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.connections: set[_ServerConnection] = set()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._loop.time() - self._began

    async def listen(self, port: int = 0) -> asyncio.Server:
        """Listen on this machine's own interface."""
        return await self._loop.create_server(lambda: _ServerConnection(self), "127.0.0.1", port)

    def is_wrong(self, model: str, body: Mapping[str, Any], faults: Faults, call: int) -> bool:
        """Return True if a fault makes the answer a wrong one."""
        key = msgspec.json.encode(body["messages"]).decode()
        if faults.flaky:
            self.asked[key] += 1
            if draw(self.seed, "flaky", model, key, self.asked[key]) < faults.flaky:
                return True
        late = (faults.after is not None and call >= faults.after) or (
            faults.seconds is not None and self.seconds >= faults.seconds
        )
        return late and draw(self.seed, "drift", model, key) < faults.drift


class _ServerConnection(asyncio.Protocol):
    """One connection: one request at a time. httptools calls the methods `on_...`."""

    def __init__(self, provider: LoopbackProvider) -> None:
        self._provider = provider
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._call: BilledCall | None = None

    # callbacks of the event loop and of the parser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._provider.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._provider.connections.discard(self)
        if self._call is not None:
            self._call.hung_up = True
            self._end_call()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_message_begin(self) -> None:
        self._target, self._body = b"", bytearray()
        self._headers: dict[str, str] = {}

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._body += part
        if len(self._body) > MOST_BODY:
            self.close()

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path = self._target.decode("latin-1").partition("?")[0]
        self._task = asyncio.get_running_loop().create_task(self._answer(method, path, bytes(self._body)))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _end_call(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._provider.bill.end(call, self._provider.seconds)

    # answers

    async def _answer(self, method: str, path: str, raw: bytes) -> None:
        provider = self._provider
        if path == "/loopback/bill":
            if method == "DELETE":
                provider.bill.clear()
            await self._send_json(200, {"totals": provider.bill.totals, "calls": provider.bill.calls})
            return
        if (method, path) == ("GET", "/v1/models"):
            names = [*MODELS, EMBEDDING]
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "loopback"} for name in names]
            await self._send_json(200, {"object": "list", "data": models})
            return
        call = self._call = provider.bill.begin(path, self._headers, provider.seconds, len(raw))
        headers: Mapping[str, str] = {}
        try:
            body = _decoded(raw)
            call.body, call.model = body, str(body.get("model", ""))
            name, _, suffix = call.model.partition("+")
            faults = self._faults(suffix)
            number = provider.calls[call.model]
            provider.calls[call.model] += 1
            if (faults.status or faults.drop) and faults.hits(number):
                if faults.drop:
                    self._end_call()
                    self.close()
                    return
                headers = {} if faults.retry_after is None else {"retry-after": faults.retry_after}
                raise Refused(faults.status, f"the loopback provider was asked for this error. {faults.text}".strip())
            if (method, path) == ("POST", "/v1/chat/completions"):
                await self._chat(name, body, faults, number, call)
            elif (method, path) == ("POST", "/v1/embeddings"):
                await self._embed(name, body, faults, call)
            else:
                raise Refused(404, f"{method} {path} is not served")
        except Refused as error:
            await self._refuse(call, error, headers)
        except (KeyError, TypeError, AttributeError, ValueError) as error:  # a field of another type than OpenAI's
            await self._refuse(call, Refused(400, f"malformed request: {type(error).__name__} {error}"), headers)

    async def _refuse(self, call: BilledCall, error: Refused, headers: Mapping[str, str]) -> None:
        if self._call is call:
            call.status = error.status
            self._end_call()
        await self._send_json(error.status, {"error": error.error}, headers)

    def _faults(self, suffix: str) -> Faults:
        asked = self._headers.get(HEADER.decode(), "")
        try:
            return parse_faults("+".join(filter(None, (suffix, asked))))
        except ValueError as error:
            raise Refused(400, str(error), code="unknown_fault") from None

    async def _chat(self, name: str, body: Mapping[str, Any], faults: Faults, number: int, call: BilledCall) -> None:
        provider = self._provider
        if name not in MODELS:
            hint = nearest(name, MODELS)
            raise Refused(404, f"the model '{name}' does not exist.{hint}", code="model_not_found", param="model")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            raise Refused(400, "messages: expected a list of at least one message", param="messages")
        if faults.no_stream_options and "stream_options" in body:
            raise Refused(400, "Unrecognized request argument supplied: stream_options", param="stream_options")
        call.stream = body.get("stream") is True
        wrong = provider.is_wrong(call.model, body, faults, number)
        choices = []
        for index in range(int(body.get("n") or 1)):
            reply = MODELS[name](provider.seed + index, body, wrong)
            choices.append(generate(reply, body, faults, name=f"{call.number}_{index}"))
        call.status = 200
        call.input_tokens = tokens_of(messages, body.get("tools") or ())
        call.cached_tokens = int(faults.cached * call.input_tokens)
        call.cache_write_tokens = int(faults.cache_write * call.input_tokens)
        call.output_tokens = call.reasoning_tokens = faults.reasoning
        top = {
            "id": f"chatcmpl-loopback-{provider.seed}-{call.number}",
            "object": "chat.completion.chunk" if call.stream else "chat.completion",
            "created": int(provider.clock.now().timestamp()),
            "model": faults.as_model or body["model"],
            "system_fingerprint": "loopback",
        }
        await asyncio.sleep(faults.first / 1e3)
        if faults.hang == "before":
            await asyncio.Event().wait()
        if call.stream:
            options = body.get("stream_options") or {}
            await self._stream(top, choices, faults, call, with_usage=options.get("include_usage") is True)
        else:
            await self._whole(top, choices, faults, call)

    async def _whole(
        self, top: Mapping[str, Any], choices: Sequence[Generated], faults: Faults, call: BilledCall
    ) -> None:
        total = sum(len(choice.deltas) for choice in choices)
        for count in range(total):
            call.output_tokens += 1
            if faults.pace:
                await asyncio.sleep(faults.pace / 1e3)
            if faults.hang == "mid" and count >= total // 2:
                await asyncio.Event().wait()
        body: dict[str, Any] = {
            **top,
            "choices": [
                {
                    "index": index,
                    "message": message_of(choice),
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
                for index, choice in enumerate(choices)
            ],
        }
        if faults.usage != "missing":
            body["usage"] = usage_of_call(call, faults)
        encoded = msgspec.json.encode(body)
        call.sent_tokens = total
        if faults.garbled:
            encoded = encoded[:-2]
        if faults.cut:
            self._write(_head(200, {"content-type": "application/json", "content-length": str(len(encoded))}))
            self._write(encoded[: len(encoded) // 2])
            self._end_call()
            self.close()
            return
        self._end_call()  # before the bytes, so that a client that has them finds them on the bill
        await self._send(200, encoded, {}, faults.split)

    async def _stream(
        self,
        top: Mapping[str, Any],
        choices: Sequence[Generated],
        faults: Faults,
        call: BilledCall,
        *,
        with_usage: bool,
    ) -> None:
        out = _EventWriter(self, faults)
        self._write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))
        with_usage = with_usage and faults.usage != "missing"
        last = {"usage": None} if with_usage else {}

        def chunk(index: int, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            return {**top, "choices": [choice], **last}

        if faults.error == "first":
            await out.error()
            return self._finish()
        for index in range(len(choices)):
            await out.event(chunk(index, {"role": "assistant", "content": ""}))
        total = sum(len(choice.deltas) for choice in choices)
        for count, (index, delta) in enumerate(_interleaved(choices)):
            if count:
                await asyncio.sleep(faults.pace / 1e3)
            if count == total // 2:
                if faults.hang == "mid":
                    await out.flush()
                    await asyncio.Event().wait()
                if faults.error == "mid":
                    await out.error()
                    return self._finish()
                if faults.garbled:
                    await out.event(None)
                if faults.cut == "event":
                    await out.flush()
                    return self._finish()
            call.output_tokens += 1
            await out.event(chunk(index, delta), cut=faults.cut == "chunk" and count == total // 2)
            if faults.cut == "chunk" and count == total // 2:
                self._end_call()
                self.close()
                return None
            call.sent_tokens += 1
        for index, choice in enumerate(choices):
            await out.event(chunk(index, {}, choice.finish_reason))
        if with_usage:
            await out.event({**top, "choices": [], "usage": usage_of_call(call, faults)})
        if faults.no_done:
            await out.flush()
            return self._finish()
        self._end_call()
        await out.done()
        return None

    def _finish(self) -> None:
        """End the chunked body in good order."""
        self._end_call()
        self._write(b"0\r\n\r\n")

    async def _embed(self, name: str, body: Mapping[str, Any], faults: Faults, call: BilledCall) -> None:
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
            raise Refused(400, "input: expected a text, or a list of texts", param="input")
        if name != EMBEDDING:
            hint = nearest(name, [EMBEDDING])
            raise Refused(404, f"the model '{name}' does not exist.{hint}", code="model_not_found", param="model")
        await asyncio.sleep(faults.first / 1e3)
        call.status = 200
        call.input_tokens = sum(len(pieces_of(text)) for text in texts)
        data = []
        for index, text in enumerate(texts):
            vector: Any = vector_of(text, int(body.get("dimensions") or DIMENSIONS))
            if body.get("encoding_format") == "base64":
                vector = b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        usage = {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens}
        self._end_call()
        await self._send_json(200, {"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _send_json(self, status: int, body: object, headers: Mapping[str, str] = {}) -> None:
        await self._send(status, msgspec.json.encode(body), headers)

    async def _send(self, status: int, body: bytes, headers: Mapping[str, str], split: int = 0) -> None:
        head = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        await self.write_split(_head(status, head) + body, split)

    async def write_split(self, data: bytes, split: int) -> None:
        """Write in segments of `split` bytes; 0: in one."""
        await self._writable.wait()
        if not split:
            self._write(data)
            return
        for begin in range(0, len(data), split):
            self._write(data[begin : begin + split])
            await asyncio.sleep(SEGMENT_S)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


class _EventWriter:
    """Writes server-sent events as chunks, in the form that the faults ask for."""

    def __init__(self, connection: _ServerConnection, faults: Faults) -> None:
        self._connection = connection
        self._faults = faults
        self._held = b""
        self._count = 0

    async def event(self, value: object, *, cut: bool = False) -> None:
        """Write one event; with None one that is no JSON. cut: only the first half of it."""
        encoded = b'{"choices": [' if value is None else msgspec.json.encode(value)
        if self._faults.multiline and value is not None:
            encoded = msgspec.json.format(encoded, indent=1)
        data = b"".join(b"data: %b\n" % line for line in encoded.split(b"\n")) + b"\n"
        if self._faults.comments:
            data = b": ping\n\n" + data
        chunk = _chunk(data.replace(b"\n", b"\r\n") if self._faults.crlf else data)
        self._held += chunk[: len(chunk) // 2] if cut else chunk
        self._count += 1
        if not self._faults.joined or self._count % 3 == 0 or cut:
            await self.flush()

    async def flush(self) -> None:
        """Write what is held back."""
        held, self._held = self._held, b""
        if held:
            await self._connection.write_split(held, self._faults.split)

    async def error(self) -> None:
        """Write an event with an error."""
        text = "the loopback provider was asked for this error"
        await self.event({"error": {"message": text, "type": "server_error", "param": None, "code": "loopback_error"}})
        await self.flush()

    async def done(self) -> None:
        """Write the last event, and the end of the body."""
        end = b"\r\n" if self._faults.crlf else b"\n"
        self._held += _chunk(b"data: [DONE]%b%b" % (end, end)) + b"0\r\n\r\n"
        await self.flush()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "server: trimtab-loopback"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON object: {error}") from None


def _interleaved(choices: Sequence[Generated]) -> list[tuple[int, dict[str, Any]]]:
    """Return the tokens of all choices, one of each in turn."""
    longest = max((len(choice.deltas) for choice in choices), default=0)
    return [
        (index, choice.deltas[at])
        for at in range(longest)
        for index, choice in enumerate(choices)
        if at < len(choice.deltas)
    ]
