"""Signing in and out, who one is, finding things by name or id, and the stream of events."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from trimtab.app.overviews.finding import find_page
from trimtab.console.access import COOKIE, Access, NotSignedIn, Visitor
from trimtab.console.rendering import page
from trimtab.errors import Forbidden

pages, api = APIRouter(), APIRouter(tags=["session"])

SIGN_IN = "Sign in with a token that has a role."
REFUSED = "This token is not known, or it has ended. Make one with: trimtab token create NAME --role viewer"


@pages.get("/sign-in")
def sign_in_page(request: Request, next: str = "/") -> Response:
    """Show the form for a token."""
    return page(request, "sign_in.html", title="Sign in", sentence=SIGN_IN, target=_own_path(next), refused=False)


@pages.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Open a session with a token."""
    access: Access = request.app.state.access
    body = await request.body()
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    token = access.token(form.get("token", "").strip())
    target = _own_path(form.get("next", "/"))
    if token is None:
        return page(request, "sign_in.html", title="Sign in", sentence=REFUSED, target=target, refused=True, status=403)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        COOKIE, access.session(token), max_age=access.session_s, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@pages.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session of this browser: its cookie opens nothing any more, wherever it was copied to."""
    access: Access = request.app.state.access
    access.end_session(request)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, samesite="strict")
    return answer


@pages.get("/find")
def find(visit: Visitor, q: str = "") -> Response:
    """Go to what a name or an id stands for."""
    return RedirectResponse(find_page(visit.workspace, q.strip()) or f"/lineage?id={quote(q.strip())}", 303)


@api.get("/session")
def session(visit: Visitor) -> dict[str, Any]:
    """Return who asks, with the role, and the value of the header that a change from a browser needs."""
    access: Access = visit.request.app.state.access
    return {
        "name": visit.actor.name,
        "role": visit.actor.role,
        "models": visit.actor.models,
        "csrf": access.csrf(visit.request),
    }


@api.get("/events")
def events(visit: Visitor) -> StreamingResponse:
    """Stream what is written from now on, or since the event that the header Last-Event-ID names."""
    access: Access = visit.request.app.state.access

    def models() -> tuple[str, ...] | None:
        try:
            return access.actor(visit.request).models
        except (NotSignedIn, Forbidden):
            return None

    stream = visit.request.app.state.events.listen(visit.request.headers.get("last-event-id"), models)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _own_path(text: str) -> str:
    """Return a path of this server; one of another server becomes the first page."""
    return text if text.startswith("/") and not text.startswith(("//", "/\\")) else "/"
