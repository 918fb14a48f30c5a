"""The connections of one endpoint: kept alive, at most `concurrent` calls at once, the key for its own host alone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.definitions.secrets import Secret, reveal
from trimtab.errors import DefinitionError, StageError
from trimtab.llm.upstream.pooled_connection import Broken, PooledConnection
from trimtab.llm.upstream.upstream_error import UpstreamError

IDLE_S = 50.0
"""An older idle connection is not used: many servers close theirs after 60 s."""
END_S = 1.0
"""How long an answer that is whole may take to end, before its connection is closed."""


class EndpointPool:
    """Connections to the host of one endpoint. Belongs to one event loop.

    url: its base URL. Raises DefinitionError when it is none, StageError when its secret cannot be read.
    """

    def __init__(self, spec: EndpointSpec, url: str, tls: Callable[[], ssl.SSLContext]) -> None:
        where = f"endpoint '{spec.name}'"
        parts = urlsplit(url)
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if not is_plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            shown = "it names a user" if parts.username is not None else f"'{url}'"
            raise DefinitionError(f"{where}: url: {shown}; expected one such as https://llm.example.com/v1")
        self.name = spec.name
        self.url = url
        self.is_lost = False
        """Whether the last call got no connection."""
        self.takes_stream_options = True
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._is_tls else 80)
        self._tls = tls
        self._base, self._query = parts.path.rstrip("/"), f"?{parts.query}" if parts.query else ""
        self._netloc = parts.netloc
        self._key = spec.key
        self._heads: dict[str, bytes] = {}
        self._idle: list[PooledConnection] = []
        self._calls = asyncio.Semaphore(spec.concurrent)
        self._ending: set[asyncio.Task[None]] = set()

    def head(self, path: str) -> bytes:
        """Return the head of a POST, up to the number of its bytes. Raises StageError."""
        found = self._heads.get(path)
        if found is None:
            lines = [
                f"POST {self._base}{path}{self._query} HTTP/1.1",
                f"Host: {self._netloc}",
                "User-Agent: trimtab",
                "Accept: application/json, text/event-stream",
                "Content-Type: application/json",
            ]
            if self._key is not None:
                where = f"endpoint '{self.name}'"
                key = reveal(Secret(self._key), where)
                if not key.isascii() or not key.isprintable():
                    raise StageError(f"{where}: the secret {self._key} has characters that no HTTP header can hold")
                lines.append(f"Authorization: Bearer {key}")
            found = self._heads[path] = "\r\n".join([*lines, "Content-Length: "]).encode()
        return found

    def forget_key(self) -> None:
        """Read the secret again before the next call: it was refused, and may have been changed."""
        self._heads.clear()

    async def begin(self, deadline: float) -> None:
        """Wait until one more call may run; `end` ends it. Raises UpstreamError when none may until the deadline."""
        if not self._calls.locked():
            await self._calls.acquire()
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._calls.acquire()
        except TimeoutError:
            reason = "all its connections stayed busy; raise `concurrent`, or `llm.timeouts.total`"
            raise UpstreamError("timeout", reason, endpoint=self.name, sent=False) from None

    def end(self) -> None:
        """Let another call begin."""
        self._calls.release()

    async def connection(self, seconds: float, *, new: bool = False) -> PooledConnection:
        """Return an idle connection, or open one. Raises UpstreamError."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_S
        while self._idle and not new:
            found = self._idle.pop()
            if found.is_open and found.idle_since > oldest:
                return found
            found.close()
        context = self._tls() if self._is_tls else None
        try:
            async with asyncio.timeout(seconds):
                _, opened = await loop.create_connection(
                    lambda: PooledConnection(loop), self._host, self._port, ssl=context
                )
        except TimeoutError:
            reason = f"no connection within {seconds:g} s (llm.timeouts.connect)"
            raise UpstreamError("connect", reason, endpoint=self.name, sent=False) from None
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not valid: {error.verify_message}"
            raise UpstreamError("connect", reason, endpoint=self.name, sent=False) from None
        except OSError as error:
            reason = f"no connection: {error.strerror or type(error).__name__}"
            raise UpstreamError("connect", reason, endpoint=self.name, sent=False) from None
        return opened

    def put_back(self, connection: PooledConnection) -> None:
        """Keep a connection whose answer was taken for the next call, else close it."""
        if connection.may_stay:
            connection.finish()
            self._idle.append(connection)
        else:
            connection.close()

    def put_back_when_ended(self, connection: PooledConnection) -> None:
        """Keep a connection once its answer has ended, of which all that counts was taken."""
        if connection.is_complete:
            self.put_back(connection)
            return
        task = asyncio.get_running_loop().create_task(self._end(connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, connection: PooledConnection) -> None:
        connection.deadline = asyncio.get_running_loop().time() + END_S
        try:
            await connection.whole()
        except (Broken, TimeoutError):
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            self.put_back(connection)

    def close(self) -> None:
        """Close what is idle."""
        for task in self._ending:
            task.cancel()
        for connection in self._idle:
            connection.close()
        self._idle.clear()
