"""Answers that are kept while no record is written: fifty viewers of one page cost as much as one."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from trimtab.clock import Clock
from trimtab.console.access import Access, NotSignedIn
from trimtab.errors import TrimtabError
from trimtab.stores.metadata.contract import Metadata

CHANGING = "no-store"
MOST_BYTES = 8 * 2**20
MOST_PAGE_BYTES = 2**20
FRESH_S = 5.0
"""A kept page is shown so long: it also shows ages and processes, which no record tells of."""

Next = Callable[[Request], Any]


class _Kept(NamedTuple):
    etag: str
    made: float
    body: bytes
    headers: dict[str, str]


class PageCache:
    """Keeps pages and documents by address, reader and the positions of the metadata store, and answers 304."""

    def __init__(self, metadata: Metadata, access: Access, clock: Clock) -> None:
        self._metadata, self._access, self._clock = metadata, access, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Answer a request, from what is kept where possible."""
        if request.method != "GET" or not _is_kept(request):
            passed: Response = await call_next(request)
            return passed
        try:
            key = await run_in_threadpool(self._key, request)
        except (NotSignedIn, TrimtabError):
            unknown: Response = await call_next(request)
            return unknown
        now = self._clock.now().timestamp()
        found = self._kept.get(key)
        if found is None or now - found.made > FRESH_S:
            answer: Response = await call_next(request)
            if answer.status_code != 200 or "set-cookie" in answer.headers or is_changing(answer):
                return answer
            body = b"".join([part async for part in answer.body_iterator])  # type: ignore[attr-defined]
            headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
            found = _Kept(f'"{hashlib.sha256(body).hexdigest()[:24]}"', now, body, headers)
            self._keep(key, found)
        headers = {**found.headers, "etag": found.etag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers={"etag": found.etag, "cache-control": "private, no-cache"})
        return Response(found.body, headers=headers)

    def _key(self, request: Request) -> str:
        actor = self._access.actor(request)
        parts = (
            request.url.path, request.url.query, request.headers.get("accept", ""), request.headers.get("cookie", ""),
            actor.name, actor.role, actor.models, self._metadata.positions(),
        )  # fmt: skip
        return json.dumps(parts)

    def _keep(self, key: str, page: _Kept) -> None:
        if len(page.body) > MOST_PAGE_BYTES:
            return
        if old := self._kept.pop(key, None):
            self._size -= len(old.body)
        self._kept[key] = page
        self._size += len(page.body)
        while self._size > MOST_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest.body)


def changing(answer: Response) -> Response:
    """Return an answer that is not kept: it shows what no record tells and a reader waits for."""
    answer.headers["cache-control"] = CHANGING
    return answer


def is_changing(answer: Response) -> bool:
    """Return True for an answer of `changing`."""
    return answer.headers.get("cache-control") == CHANGING


def _is_kept(request: Request) -> bool:
    path = request.url.path
    streams = path.endswith((".csv", ".parquet", "/events")) or request.query_params.get("format") == "csv"
    return not streams and not path.startswith(("/assets/", "/sign-in"))
