"""The HTTP side of a local model: chat completions with and without stream, and the list of models."""

from __future__ import annotations

import select
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import msgspec

from trimtab.clock import SystemClock
from trimtab.errors import DataError
from trimtab.llm.local_model.local_request import Ended, LocalRequest, NoSuchModel

MOST_BODY = 16 * 2**20
"""Bytes of a request."""


class Answering(Protocol):
    """What the server serves."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its models."""

    def answer(self, request: LocalRequest) -> Iterator[str | Ended]:
        """Give the pieces of an answer, then its end. Raises NoSuchModel, DataError."""


class LocalServer(ThreadingHTTPServer):
    """Listens on this machine's own interface. Port 0: any free one."""

    daemon_threads = True

    def __init__(self, model: Answering, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.model = model

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what a handler raised, unless the client has left."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Base URL of the interface, for `tt.Endpoint`."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "trimtab-local-model"
    disable_nagle_algorithm = True
    wbufsize = 2**16  # head and body in one segment
    server: LocalServer

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._refuse(404, f"GET {self.path} is not served")
        models = [
            {"id": each, "object": "model", "created": 0, "owned_by": "local"} for each in self.server.model.names
        ]
        return self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MOST_BODY:
            self.close_connection = True
            return self._refuse(413 if length.isdigit() else 411, f"expected a content-length of at most {MOST_BODY}")
        raw = self.rfile.read(int(length))
        if self.path != "/v1/chat/completions":
            return self._refuse(404, f"POST {self.path} is not served")
        try:
            request = msgspec.json.decode(raw, type=LocalRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._refuse(400, str(error))
        pieces = self.server.model.answer(request)
        try:
            first = next(pieces)  # errors come before the first piece
        except NoSuchModel as error:
            return self._refuse(404, str(error), code="model_not_found")
        except DataError as error:
            return self._refuse(400, str(error))
        top = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk" if request.stream else "chat.completion",
            "created": int(SystemClock().now().timestamp()),
            "model": request.model,
        }
        try:
            answer = self._stream if request.stream else self._whole
            return answer(top, request, first, pieces)
        except OSError:  # the client has left
            self.close_connection = True
            return None
        finally:
            getattr(pieces, "close", lambda: None)()

    def _whole(
        self, top: dict[str, Any], request: LocalRequest, first: str | Ended, rest: Iterator[str | Ended]
    ) -> None:
        text, piece = "", first
        while not isinstance(piece, Ended):
            self._check_client()
            text, piece = text + piece, next(rest)
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": piece.finish_reason}
        self._send(200, {**top, "choices": [choice], "usage": _usage(piece)})

    def _stream(
        self, top: dict[str, Any], request: LocalRequest, first: str | Ended, rest: Iterator[str | Ended]
    ) -> None:
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        last: dict[str, Any] = {"usage": None} if with_usage else {}

        def event(delta: dict[str, Any], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            self._event(msgspec.json.encode({**top, "choices": [choice], **last}))

        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        event({"role": "assistant", "content": ""})
        piece = first
        while not isinstance(piece, Ended):
            self._check_client()
            event({"content": piece})
            piece = next(rest)
        event({}, piece.finish_reason)
        if with_usage:
            self._event(msgspec.json.encode({**top, "choices": [], "usage": _usage(piece)}))
        self._event(b"[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: bytes) -> None:
        event = b"data: %b\n\n" % data
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.flush()

    def _check_client(self) -> None:
        """Raise ConnectionError if the client has closed the connection."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        if ready and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionError("the client has left")

    def _refuse(self, status: int, text: str, *, code: str | None = None) -> None:
        self._send(status, {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": code}})

    def _send(self, status: int, body: object) -> None:
        encoded = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Write no line for a request: clients log their own."""


def _usage(end: Ended) -> dict[str, int]:
    return {
        "prompt_tokens": end.input_tokens,
        "completion_tokens": end.output_tokens,
        "total_tokens": end.input_tokens + end.output_tokens,
    }
