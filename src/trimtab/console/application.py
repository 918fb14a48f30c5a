"""The application: pages, control API, files for browsers, checks of each request."""

from __future__ import annotations

import gzip
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.middleware.gzip import GZipMiddleware

from trimtab import __version__, settings
from trimtab.app.overviews.frame_overview import FrameOverview, frame_overview
from trimtab.app.overviews.system.health_log import note_health
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.charts.browser_bundle import browser_bundle
from trimtab.console.access import SAFE, Access, NotSignedIn
from trimtab.console.body_limit import FORMS, BodyLimit
from trimtab.console.documents import check_query
from trimtab.console.live_events import LiveEvents
from trimtab.console.page_cache import FRESH_S, PageCache
from trimtab.console.problems import add_problems, not_signed_in, problem, status_of
from trimtab.console.rendering import Rendering
from trimtab.console.routes import (
    action_routes,
    backtest_routes,
    comparison_routes,
    cost_routes,
    data_routes,
    decision_routes,
    experiment_routes,
    lineage_routes,
    loop_routes,
    model_routes,
    promotion_routes,
    report_routes,
    session_routes,
    system_routes,
    version_routes,
    window_routes,
)
from trimtab.errors import NotFound, TrimtabError
from trimtab.serving.requests import Refused
from trimtab.serving.web.browsers import BrowserCheck

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
API = "/api/v1"
CHARTS = f"/assets/vega-{metadata.version('vl-convert-python')}.js"
"""The script that draws charts; the version says what is in it."""
FOR_EVER = "public, max-age=31536000, immutable"
HEALTH_S = 60.0
SMALLEST_COMPRESSED = 1000
THREADS = 12
"""That make pages at once; each keeps memory of its own."""

AREAS: tuple[Any, ...] = (
    action_routes,
    promotion_routes,
    session_routes,
    loop_routes,
    model_routes,
    version_routes,
    window_routes,
    backtest_routes,
    data_routes,
    decision_routes,
    comparison_routes,
    experiment_routes,
    report_routes,
    lineage_routes,
    cost_routes,
    system_routes,
)
"""Modules with `pages` and `api`: the routes of one area each."""

Next = Callable[[Request], Awaitable[Response]]


class Asset(NamedTuple):
    """A file for browsers, as it is and compressed."""

    content: bytes
    compressed: bytes
    kind: str


def create_app(workspace: Workspace, *, environment: str = "local") -> FastAPI:
    """Return the application for a project. environment: of its policy, for commands that are started."""
    app = FastAPI(
        title="Trimtab", version=__version__, docs_url=None, redoc_url=None, openapi_url=f"{API}/openapi.json",
        lifespan=_lifespan,
    )  # fmt: skip
    assets = {path.name: _asset(path.read_bytes(), path.suffix) for path in sorted(STATIC.iterdir())}
    state = app.state
    state.workspace, state.environment = workspace, environment
    state.access = Access(workspace)
    state.events = LiveEvents(workspace.metadata)
    state.rendering = Rendering({"vega.js": CHARTS, **{name: address for name, (address, _) in assets.items()}})
    state.assets = dict(named for _, named in assets.values())
    state.frame = _kept_frame()
    for area in AREAS:
        app.include_router(area.api, prefix=API, dependencies=[Depends(check_query)])
        app.include_router(area.pages, include_in_schema=False, dependencies=[Depends(check_query)])
    app.add_api_route(CHARTS, _send_charts, include_in_schema=False)
    app.add_api_route("/assets/{name}", _send_asset, include_in_schema=False)
    add_problems(app)
    app.add_middleware(BodyLimit)  # the innermost: an error in a read within another one becomes a group of errors
    app.middleware("http")(PageCache(workspace.metadata, state.access, workspace.clock))
    app.middleware("http")(_checked(workspace, state.access))
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST_COMPRESSED, compresslevel=5)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    ended = threading.Event()
    threading.Thread(target=_note_health, args=(app.state.workspace, ended), daemon=True).start()
    yield
    ended.set()
    app.state.events.close()


def _note_health(workspace: Workspace, ended: threading.Event) -> None:
    """Note once a minute whether gateway and loop run."""
    while True:
        try:
            note_health(workspace)
        except OSError as error:  # a full disk; the pages go on
            log.warning("health of the processes could not be noted: %s", error)
        if ended.wait(HEALTH_S):
            return


def _checked(workspace: Workspace, access: Access) -> Callable[[Request, Next], Awaitable[Response]]:
    """Return a middleware that refuses foreign hosts and origins, and sends the headers of safety."""
    console = workspace.project.policy.console
    hosts = [*console.allowed_hosts, *([console.url.split("/")[2].partition(":")[0]] if console.url else [])]
    check = BrowserCheck(None if access.asks and not hosts else hosts, section="console")

    async def pass_on(request: Request, call_next: Next) -> Response:
        host, origin = request.headers.get("host"), request.headers.get("origin")
        try:
            check.check(None if host is None else host.encode(), None if origin is None else origin.encode())
        except Refused as error:
            answer = problem(request, error.status, str(error))
        else:
            answer = await _unknown(request, access) or await call_next(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return pass_on


async def _unknown(request: Request, access: Access) -> Response | None:
    """Return the refusal of a change whose sender is not known, before its body is read; else None."""
    if request.method in SAFE or request.url.path in FORMS:
        return None
    try:
        await to_thread.run_sync(access.actor, request)
    except NotSignedIn as error:
        return not_signed_in(request, error)
    except TrimtabError as error:
        return problem(request, status_of(error), str(error))
    return None


def _kept_frame() -> Callable[[Workspace], FrameOverview]:
    """Return a function that reads the frame again when a record has been written, and every FRESH_S seconds.

    Each set of models, as a reader may see them, has a frame of its own.
    """
    kept: dict[tuple[str, ...], tuple[object, FrameOverview]] = {}

    def frame(workspace: Workspace) -> FrameOverview:
        models = tuple(workspace.project.definitions.served)
        at = workspace.metadata.positions(), workspace.clock.now().timestamp() // FRESH_S
        found = kept.get(models)
        if found is None or found[0] != at:
            found = kept[models] = at, frame_overview(workspace)
        return found[1]

    return frame


def _asset(content: bytes, suffix: str) -> tuple[str, tuple[str, Asset]]:
    """Return the address of a file, which holds a hash of its content, and what is sent there."""
    name = f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    return f"/assets/{name}", (name, Asset(content, gzip.compress(content, 9), KINDS[suffix]))


def _send_asset(request: Request, name: str) -> Response:
    found: Asset | None = request.app.state.assets.get(name)
    if found is None:
        raise NotFound(f"there is no file {name}")
    headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, media_type=found.kind, headers={**headers, "content-encoding": "gzip"})
    return Response(found.content, media_type=found.kind, headers=headers)


def _send_charts(request: Request) -> Response:
    """Send the script that draws charts, compressed once and kept in the cache folder."""
    path = browser_bundle(settings.read().cache.expanduser())
    headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return FileResponse(path, media_type=KINDS[".js"], headers=headers)
    packed = path.with_suffix(".js.gz")
    if not packed.exists():
        write_atomically(packed, gzip.compress(path.read_bytes(), 9))
    return FileResponse(packed, media_type=KINDS[".js"], headers={**headers, "content-encoding": "gzip"})
