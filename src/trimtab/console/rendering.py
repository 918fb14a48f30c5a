"""Pages from templates: the frame that all share, the navigation, and how values look."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import jinja2
from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from trimtab import __version__
from trimtab.app.overviews import wording
from trimtab.console.access import Access, Visit

TEMPLATES = Path(__file__).parent / "templates"
SCHEMES = ("auto", "light", "dark")
SCHEME_COOKIE, ZONE_COOKIE = "trimtab_scheme", "trimtab_zone"
WORDING = (
    "answers_counted", "cost", "count", "duration", "interval", "iso", "joined", "metric", "money", "month", "p_value",
    "share", "size", "window_name",
)  # fmt: skip
"""Functions of wording.py that templates have as filters."""
DAY = "%-d %b %Y"
MINUTE = "%-d %b %Y, %H:%M UTC"


class Section(NamedTuple):
    """One entry of the navigation. key: the letter after `g` that opens it."""

    name: str
    path: str
    key: str


SECTIONS = (
    Section("Loop", "/", "l"),
    Section("Models", "/models", "m"),
    Section("Decisions", "/decisions", "d"),
    Section("Compare", "/compare", "c"),
    Section("Backtest", "/backtest", "b"),
    Section("Data", "/data", "a"),
    Section("Experiments", "/experiments", "e"),
    Section("Lineage", "/lineage", "i"),
    Section("Cost", "/cost", "o"),
    Section("System", "/system", "s"),
)


class Rendering:
    """Renders templates. assets: name of a file of ours -> its address, which holds a hash of its content."""

    def __init__(self, assets: Mapping[str, str]) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "sections": SECTIONS,
            "schemes": SCHEMES,
            "assets": assets,
            "version": __version__,
        }
        self._environment.filters |= {
            "data": data_block,
            "instant": instant,
            "age": age,
            "day": day,
            "segment": segment,
            "commands": commands,
            **{name: getattr(wording, name) for name in WORDING},
        }

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return a template filled with values. A value that is missing is an error."""
        return self._environment.get_template(name).render(values)


def page(request: Request, template: str, *, title: str, sentence: str, **values: Any) -> Response:
    """Return a page.

    title: of the browser's window. sentence: answers the page's question. Further values go to the template; of
    these the frame takes `section` (its entry of the navigation), `crumbs` (pairs of text and address), `status`
    (of HTTP) and `live` (kinds of records that change the page).
    """
    app = request.app.state
    access: Access = app.access
    visit: Visit | None = values.pop("visit", None)
    status = values.pop("status", 200)
    signed_in = visit is not None or not access.asks
    shared = {
        "title": title,
        "sentence": sentence,
        "section": "",
        "crumbs": (),
        "live": (),
        "project": app.workspace.project.policy.project,
        "actor": visit.actor if visit else None,
        "may": visit.may if visit else lambda role, model=None: False,
        "asks": access.asks,
        "csrf": access.csrf(request),
        "frame": app.frame(visit.workspace if visit else app.workspace) if signed_in else None,
        "scheme": _choice(request.cookies.get(SCHEME_COOKIE), SCHEMES),
        "zone": _choice(request.cookies.get(ZONE_COOKIE), ("utc", "local")),
        "query": dict(request.query_params),
        "path": request.url.path,
        "with_query": lambda **changed: with_query(request, **changed),
    }
    return HTMLResponse(app.rendering.render(template, {**shared, **values}), status)


def with_query(request: Request, **changed: object) -> str:
    """Return the address of this page with some values of the query changed; None takes one away.

    `whole`, which asks for a slow part, is not passed on.
    """
    query = {**{name: value for name, value in request.query_params.items() if name != "whole"}, **changed}
    left = {name: value for name, value in query.items() if value is not None and value != ""}
    return f"{request.url.path}?{urlencode(left)}" if left else request.url.path


def query_of(request: Request, *names: str) -> str:
    """Return these values of the query, to be handed to another address."""
    return urlencode([(name, value) for name, value in request.query_params.multi_items() if name in names and value])


def data_block(value: Any) -> Markup:
    """Return a value as JSON that may stand in a script element of HTML."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=_json_value)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def instant(moment: datetime | None) -> Markup:
    """Return a time element of an instant, in UTC; the script of the page shows it in the reader's zone."""
    return _time("instant", moment)


def age(moment: datetime | None) -> Markup:
    """Return a time element that the script of the page turns into an age, such as 3 h ago, up to two days."""
    return _time("age", moment)


def _time(kind: str, moment: datetime | None) -> Markup:
    if moment is None:
        return Markup('<span class="muted">not known</span>')
    utc = moment.astimezone(UTC)
    iso = utc.isoformat(timespec="seconds").replace("+00:00", "Z")
    element = '<time class="{0}" datetime="{1}" title="{1}">{2}</time>'
    return Markup(element).format(kind, iso, utc.strftime(MINUTE))


def day(moment: datetime) -> str:
    """Return a day of UTC, such as 29 Dec 2013."""
    return moment.astimezone(UTC).strftime(DAY)


def commands(text: str) -> Markup:
    """Return a sentence whose parts between backticks are shown as commands."""
    parts = (escape(part) for part in text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def segment(text: object) -> str:
    """Return text as one segment of an address."""
    return quote(str(text), safe="")


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _choice(value: str | None, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else allowed[0]
