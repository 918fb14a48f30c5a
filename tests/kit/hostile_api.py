"""A real HTTP server on this machine that pages rows in several styles, and misbehaves as it is told."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

Row = dict[str, Any]
PAGE = 10


class HostileApi:
    """The rows and the behaviour of a server. `faults`: what happens to the next requests, one each."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows: list[Row] = list(rows)
        self.faults: list[str] = []
        self.asked: list[str] = []
        """Path and query of each request."""
        self.headers: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.valid_tokens: set[str] = set()
        self.expires_in: int | None = 3600
        self.most: int | None = None
        """Most rows of a page, whatever the client asks for."""
        self.since: Callable[[Row, str], bool] = lambda row, since: row["updated_at"] >= since
        """Return True if a row is in the answer to `since`."""
        self.order: Callable[[list[Row]], list[Row]] = list
        self.envelope: dict[str, Any] = {}
        self.before_page: Callable[[int], None] = lambda page: None
        """Called before each page with its number from 0."""
        self.url = ""
        self._last = b""

    def forget(self) -> None:
        """Forget the page that the fault "repeat" gives again."""
        self._last = b""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        parts = urlsplit(request.path)
        self.asked.append(request.path)
        self.headers.append(dict(request.headers.items()))
        length = int(request.headers.get("Content-Length") or 0)
        sent = request.rfile.read(length)
        if parts.path == "/token":
            return self._token(request)
        fault = self.faults.pop(0) if self.faults else "ok"
        if self.valid_tokens and request.headers.get("Authorization") not in {f"Bearer {t}" for t in self.valid_tokens}:
            return _send(request, 401, b'{"error": "expired"}')
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if sent:
            query |= {key: str(value) for key, value in json.loads(sent).items()}
        if fault.startswith("429"):
            wait = {"429": "3", "429 date": formatdate(usegmt=True), "429 long": "3600"}[fault]
            return _send(request, 429, b"slow down", {"Retry-After": wait})
        if fault == "500":
            return _send(request, 500, b"oops")
        if fault == "404":
            return _send(request, 404, b"there is nothing here")
        if fault == "html":
            return _send(request, 200, b"<html>log in first</html>", kind="text/html")
        if fault == "hang up":
            request.close_connection = True
            return None
        if fault == "redirect":
            return _send(request, 302, b"", {"Location": "http://127.0.0.2:9/elsewhere"})
        if fault == "repeat" and self._last:
            return _send(request, 200, self._last)
        body, headers = self._page(parts.path, query)
        self._last = body
        if fault == "cut":
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: len(body) // 2])
            request.close_connection = True
            return None
        if fault == "truncated":
            return _send(request, 200, body[: len(body) // 2], headers)
        if fault == "gzip":
            return _send(request, 200, gzip.compress(body), headers | {"Content-Encoding": "gzip"})
        if fault == "bad gzip":
            return _send(request, 200, gzip.compress(body)[:-20], headers | {"Content-Encoding": "gzip"})
        return _send(request, 200, body, headers)

    def _token(self, request: BaseHTTPRequestHandler) -> None:
        fault = self.faults.pop(0) if self.faults and self.faults[0].startswith("token") else "ok"
        if fault == "token 500":
            return _send(request, 500, b"oops")
        if fault == "token refused":
            return _send(request, 401, b'{"error": "invalid_client"}')
        token = f"token-{len(self.tokens)}"
        self.tokens.append(token)
        self.valid_tokens = {token}
        found: dict[str, Any] = {"access_token": token, "token_type": "bearer"}
        if self.expires_in is not None:
            found["expires_in"] = self.expires_in
        return _send(request, 200, json.dumps(found).encode())

    def _page(self, path: str, query: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        style = path.strip("/").split("/")[-1]
        since = query.get("since")
        number = int(query.get("page", query.get("after", 0)))
        self.before_page(number)
        rows = [row for row in self.rows if since is None or self.since(row, since)]
        rows = self.order(rows)
        if style == "offset":
            limit = min(int(query["limit"]), self.most or 10**9)
            start = int(query["offset"])
            return self._body(rows[start : start + limit], {"total": len(rows)}), {}
        start = number * PAGE
        page, is_last = rows[start : start + PAGE], start + PAGE >= len(rows)
        further = urlencode({"page": number + 1, **({} if since is None else {"since": since})})
        if style == "all":
            return json.dumps(rows).encode(), {}
        if style == "link":
            links = {} if is_last else {"Link": f'<{self.url}/link?{further}>; rel="next"'}
            return json.dumps(page).encode(), links
        if style == "json":
            return self._body(page, {"next": None if is_last else f"/json?{further}"}), {}
        if style == "cursor":
            return self._body(page, {"next_cursor": None if is_last else str(number + 1)}), {}
        assert style == "page", path
        return self._body(page, {"pages": -(-len(rows) // PAGE)}), {}

    def _body(self, rows: list[Row], more: dict[str, Any]) -> bytes:
        return json.dumps({"data": {"items": rows}, **more, **self.envelope}).encode()


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    kind: str = "application/json",
) -> None:
    request.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def hostile_api(rows: Sequence[Row]) -> Iterator[HostileApi]:
    """Run a server for the block."""
    api = HostileApi(rows)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.answer(self)

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
