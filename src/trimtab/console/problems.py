"""Errors as problem documents (RFC 9457): as JSON for programs, as a page for browsers."""

from __future__ import annotations

import logging
import secrets
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from trimtab.console.access import NotSignedIn
from trimtab.console.rendering import page
from trimtab.errors import (
    ActionError,
    Conflict,
    Forbidden,
    NotFound,
    Outdated,
    StageError,
    StoreError,
    Temporary,
    TrimtabError,
)

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
STATUS: tuple[tuple[type[TrimtabError], int], ...] = (
    (Forbidden, 403),
    (NotFound, 404),
    (Outdated, 412),
    (Conflict, 409),
    (ActionError, 409),
    (StoreError, 503),
    (StageError, 409),
    (TrimtabError, 422),
)
TITLES = {
    401: "sign in first",
    403: "not allowed",
    404: "not found",
    405: "not possible here",
    409: "refused",
    412: "changed meanwhile",
    413: "too long",
    422: "not as expected",
    500: "the console failed",
    503: "a store does not answer",
}


def add_problems(app: FastAPI) -> None:
    """Turn every error of a route into a problem document."""
    app.add_exception_handler(NotSignedIn, not_signed_in)
    app.add_exception_handler(TrimtabError, _own)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OverflowError, _out_of_range)
    app.add_exception_handler(Exception, _failure)


def status_of(error: TrimtabError) -> int:
    """Return the HTTP status that says what went wrong."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def wants_page(request: Request) -> bool:
    """Return True if a browser asks for a page, not a program for data."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "text/html")


def problem(request: Request, status: int, detail: str, **more: Any) -> Response:
    """Return a problem document, or the page that shows it."""
    body = {
        "type": "about:blank",
        "title": TITLES.get(status, "refused"),
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": secrets.token_hex(8),
        **more,
    }
    if status >= 500:
        log.error("%s %s: %s (request %s)", request.method, request.url.path, detail, body["request_id"])
    if wants_page(request):
        return page(request, "problem.html", title=body["title"], sentence=detail, status=status, problem=body)
    return JSONResponse(body, status, media_type=PROBLEM)


def not_signed_in(request: Request, _: Exception) -> Response:
    """Send a browser that asks for a page to the form, and answer 401 to anything else."""
    if wants_page(request) and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(target)}", 303)
    detail = "send a token: Authorization: Bearer ..."
    return JSONResponse(
        {"type": "about:blank", "title": TITLES[401], "status": 401, "detail": detail, "instance": request.url.path},
        401,
        media_type=PROBLEM,
        headers={"WWW-Authenticate": "Bearer"},
    )


def _own(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrimtabError)
    answer = problem(request, status_of(error), str(error))
    if isinstance(error, Temporary):
        answer.headers["retry-after"] = f"{max(error.after_s, 1.0):.0f}"
    return answer


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{"where": ".".join(str(part) for part in fault["loc"]), "what": fault["msg"]} for fault in error.errors()]
    return problem(request, 422, "; ".join(f"{each['where']}: {each['what']}" for each in faults), errors=faults)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"there is no page or route {request.url.path}" if error.status_code == 404 else str(error.detail)
    return problem(request, error.status_code, detail)


def _out_of_range(request: Request, error: Exception) -> Response:
    log.warning("%s %s", request.method, request.url, exc_info=error)
    return problem(request, 422, "a number or a time of the request is out of range: it cannot be computed with")


def _failure(request: Request, error: Exception) -> Response:
    log.exception("%s %s", request.method, request.url.path, exc_info=error)
    return problem(request, 500, f"{type(error).__name__}: {error}")
