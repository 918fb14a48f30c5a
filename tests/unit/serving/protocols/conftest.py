"""Routes called as the server calls them, without one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trimtab.serving.endpoints import Answer, Call, Route
from trimtab.serving.requests import Refused
from unit.serving.protocols.grpc.caller import Caller

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Ask = Callable[..., Answer]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Return a function that calls the route of a path; a Refused becomes the route's own error."""
    with asyncio.Runner() as runner:

        def call(
            routes: Sequence[Route], method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None
        ) -> Answer:
            route, params = _found(routes, method, path)
            given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            try:
                return runner.run(_awaited(route, Call(params, given, b"", content, 0)))
            except Refused as refused:
                return Answer(refused.status, route.encode_error(refused.status, str(refused)))

        yield call


async def _awaited(route: Route, call: Call) -> Answer:
    return await route.handle(call)


def _found(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Return the route of a path with most literal text, and the parts that it names."""
    fitting = []
    for route in routes:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
        match = re.fullmatch(pattern, path)
        if match and route.method == method:
            fitting.append((route, match.groupdict()))
    assert fitting, f"no route for {method} {path}"
    return max(fitting, key=lambda found: len(re.sub(r"\{\w+\}", "", found[0].path)))


@pytest.fixture
def delay(served: Served, pack: Any, table_of: Any) -> Served:
    """A gateway that serves "delay": version 2 as champion, 3 as challenger without traffic, 1 warm."""
    return served.serve(
        table_of(
            ("champion", pack(2), 100),
            ("challenger", pack(3, scores=(0.3, 0.4)), 0),
            warm=[pack(1, scores=(0.6, 0.7))],
        )
    )


@pytest.fixture
def open_caller(delay: Served) -> Iterator[Callable[..., Caller]]:
    """Return a function that opens a server over "delay" and a client of it."""
    opened: list[Caller] = []

    def make(**options: Any) -> Caller:
        opened.append(Caller(delay, **options))
        return opened[-1]

    yield make
    for caller in opened:
        caller.close()


@pytest.fixture
def call(open_caller: Callable[..., Caller]) -> Caller:
    return open_caller()
