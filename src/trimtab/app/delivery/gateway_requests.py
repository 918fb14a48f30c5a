"""Requests to a gateway by HTTP, over one connection each, with the standard library alone."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trimtab.clock import Clock
from trimtab.errors import CheckFailed, DataError, StoreError, Temporary, UsageError
from trimtab.serving.processes.listening import is_loopback

POLL_S = 0.1
ASKED_S = 10.0
SHOWN = 300
"""Bytes of an unexpected answer that an error shows."""


class Unreachable(StoreError, Temporary):
    """The gateway cannot be reached."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises DataError."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            raise DataError(f"status {self.status}, and no JSON: {self.shown()}") from None

    def shown(self) -> str:
        """Return the beginning of the body."""
        return self.body[:SHOWN].decode("utf-8", "replace")


class GatewayRequests:
    """Sends requests to one gateway.

    url: of the gateway, with the path that a proxy serves it under, if any. token: bearer token. certificate: PEM file
    of a certificate that is trusted in addition to those of the system; on this machine under any name.
    """

    def __init__(self, url: str, *, token: str | None = None, certificate: Path | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"'{url}' is no URL of a gateway; expected such as http://127.0.0.1:8080")
        try:
            self._port = parts.port
        except ValueError:
            raise UsageError(f"'{url}': the port is no number from 0 to 65535") from None
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._host, self._path = parts.hostname, parts.path.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context()
            if certificate is not None:
                self._tls.load_verify_locations(certificate)
                self._tls.check_hostname = not is_loopback(self._host)

    def get(self, path: str, *, timeout_s: float) -> Answer:
        """Return the answer of a GET. Raises Unreachable."""
        return self._ask("GET", path, None, timeout_s)

    def post(self, path: str, body: bytes, *, timeout_s: float) -> Answer:
        """Return the answer of a POST of JSON. Raises Unreachable."""
        return self._ask("POST", path, body, timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Answer:
        connection = (
            HTTPConnection(self._host, self._port, timeout=timeout_s)
            if self._tls is None
            else HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
        )
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            connection.request(method, self._path + path, body, headers)
            answer = connection.getresponse()
            return Answer(status=answer.status, body=answer.read())
        except TimeoutError:
            raise Unreachable(f"{self.url}{path}: no answer in {timeout_s:g} s") from None
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{self.url} cannot be reached: {error or type(error).__name__}") from None
        finally:
            connection.close()


def wait_until_ready(gateway: GatewayRequests, clock: Clock, wait_s: float) -> None:
    """Wait until a gateway is ready. Raises Unreachable if it was never reached, else CheckFailed with what it says."""
    deadline = time.monotonic() + wait_s
    while True:
        failed: Unreachable | CheckFailed
        try:
            answer = gateway.get("/v2/health/ready", timeout_s=ASKED_S)
            if answer.status == 200:
                return
            failed = CheckFailed(f"not ready after {wait_s:g} s: status {answer.status}: {answer.shown()}")
        except Unreachable as error:
            failed = error
        if time.monotonic() >= deadline:
            raise failed
        clock.sleep(POLL_S)
