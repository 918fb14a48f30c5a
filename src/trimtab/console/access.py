"""Who asks: the person behind a request, sessions of browsers, and requests that other sites made a browser send.

Without `console.authentication: tokens` a request comes from the person at this machine. With it, a request brings a
token, or the cookie of a session that was opened with one. A session ends with its token.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from itsdangerous import BadSignature, TimestampSigner

from trimtab.app.gateway.tokens import statuses, with_secret
from trimtab.app.operations.actors import Actor, actor_of, local_actor
from trimtab.app.project.limited_workspace import limited
from trimtab.app.project.workspace import Workspace
from trimtab.console.ended_sessions import EndedSessions
from trimtab.errors import Forbidden
from trimtab.records.serving import Token
from trimtab.units import MICROS

COOKIE = "trimtab_session"
KEY_FILE = "console.key"
"""In the run folder: signs sessions, so that they outlive a restart of the console."""
KEY_BYTES = 32
ENDED_FILE = "console-ended.json"
"""In the run folder: sessions that were ended before their time."""
SESSION_BYTES = 16
BEARER = "bearer "
LOCAL = "local"
CSRF_HEADER = "x-csrf-token"
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


class NotSignedIn(Exception):
    """The request says not who sends it."""


class Access:
    """Finds the actor of a request."""

    def __init__(self, workspace: Workspace) -> None:
        console = workspace.project.policy.console
        self._workspace = workspace
        self._key = _signing_key(workspace.run_folder / KEY_FILE)
        self._signer = TimestampSigner(self._key, salt=COOKIE)
        self.session_s = console.session // MICROS["s"]
        self._ended = EndedSessions(workspace.run_folder / ENDED_FILE, self.session_s, workspace.clock)
        self.asks = console.authentication == "tokens"

    def actor(self, request: Request) -> Actor:
        """Return who sends a request. Raises NotSignedIn, or Forbidden for a token without a role."""
        if not self.asks:
            return local_actor()
        header = request.headers.get("authorization", "")
        if header.lower().startswith(BEARER):
            token = self.token(header[len(BEARER) :].strip())
        else:
            token = self._of_session(request.cookies)
        if token is None:
            raise NotSignedIn
        found = actor_of(token)
        if found is None:
            raise Forbidden(
                f"the token '{token.name}' has no role; make one with: trimtab token create NAME --role viewer"
            )
        return found

    def token(self, secret: str) -> Token | None:
        """Return the valid token with that secret, or None."""
        return with_secret(self._workspace.metadata, self._workspace.clock, secret)

    def session(self, token: Token) -> str:
        """Return the value of the cookie of a new session that a token opens."""
        return self._signer.sign(f"{secrets.token_hex(SESSION_BYTES)}.{token.id}").decode()

    def end_session(self, request: Request) -> None:
        """End the session of a request, so that its cookie opens nothing any more."""
        if session := self._opened(request.cookies):
            self._ended.add(session[0])

    def csrf(self, request: Request) -> str:
        """Return what a page sends along with a change, so that pages of other sites cannot send one."""
        session = request.cookies.get(COOKIE, LOCAL)
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()

    def check_change(self, request: Request) -> None:
        """Raise Forbidden for a change that a page of another site may have made a browser send."""
        if request.method in SAFE or request.headers.get("authorization", "").lower().startswith(BEARER):
            return
        if not hmac.compare_digest(request.headers.get(CSRF_HEADER, ""), self.csrf(request)):
            raise Forbidden(
                f"the header {CSRF_HEADER} is missing or old: load the page again; programs send a token as "
                "'Authorization: Bearer ...', or the value that GET /api/v1/session returns"
            )

    def _of_session(self, cookies: Mapping[str, str]) -> Token | None:
        session, id_ = self._opened(cookies) or ("", "")
        return None if session in self._ended else next((each for each in self._valid() if each.id == id_), None)

    def _opened(self, cookies: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the id of the session and of the token that a cookie names; None for one that is none or too old."""
        try:
            text = self._signer.unsign(cookies.get(COOKIE, ""), max_age=self.session_s).decode()
        except BadSignature:  # or SignatureExpired, which is one
            return None
        session, _, token = text.partition(".")
        return session, token

    def _valid(self) -> list[Token]:
        found = statuses(self._workspace.metadata, self._workspace.clock)
        return [each.token for each in found if each.state == "valid"]


class Visit(NamedTuple):
    """One request: whose it is, and the project that it asks about.

    A reader whose token holds for some models reads a workspace that has these alone. A change gets the whole one, as
    it writes what all models share; operations check the role on the model.
    """

    actor: Actor
    workspace: Workspace
    request: Request

    def may(self, role: str, model: str | None = None) -> bool:
        """Return True if the actor has at least that role, for templates."""
        return self.actor.may(role, model)  # type: ignore[arg-type]  # templates name roles

    def models(self, model: str | None = None) -> tuple[str, ...]:
        """Return the models that a page shows: the given one, else those of the actor; empty for all.

        Raises Forbidden for a model that the actor may not see, DefinitionError for one that is none.
        """
        if not model:
            return self.actor.models
        self.actor.require("viewer", model)
        return (self.workspace.served(model).name,)


def open_visit(request: Request) -> Visit:
    """Check a request and return who sends it.

    Raises Forbidden for a `model` in the path or the query that the actor may not see: no route needs to think of it.
    """
    access: Access = request.app.state.access
    actor = access.actor(request)
    access.check_change(request)
    for model in filter(None, (request.path_params.get("model"), *request.query_params.getlist("model"))):
        actor.require("viewer", model)
    whole: Workspace = request.app.state.workspace
    return Visit(actor, limited(whole, actor.models) if request.method in SAFE else whole, request)


Visitor = Annotated[Visit, Depends(open_visit)]
"""The type of a route's argument that says who asks."""


def _signing_key(path: Path) -> bytes:
    """Return the key that signs sessions; the first call makes it, readable for this account alone."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(file, "wb") as output:
        key = secrets.token_bytes(KEY_BYTES)
        output.write(key)
    return key
