"""The HTTP session of a REST source: retries, rate limit, authentication, and answers that are checked and bounded.

dlt's session, authentication and waiting times are used. Added to them: jitter, the header Retry-After of any length,
a new OAuth2 token when the server refuses the old one, a limit for the size and the time of an answer, the same answer
again in place of the next page, redirects and links to other hosts, and secrets that appear in no message.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import timedelta
from email.utils import formatdate
from typing import Any, cast
from urllib.parse import quote, quote_plus, urlsplit

import tenacity
from dlt.sources.helpers.requests.session import Session
from dlt.sources.helpers.rest_client.auth import (
    APIKeyAuth,
    AuthConfigBase,
    BearerTokenAuth,
    HttpBasicAuth,
    OAuth2ClientCredentials,
)
from dlt.sources.helpers.rest_client.redaction import sanitize_url
from requests import PreparedRequest, Response
from requests.exceptions import ChunkedEncodingError, ConnectionError, ContentDecodingError, RequestException, Timeout
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from trimtab.clock import Clock
from trimtab.definitions.rest_source import RESTSource
from trimtab.definitions.secrets import Secret, reveal
from trimtab.errors import DataError, StoreError, Temporary

ATTEMPTS = 6
"""Attempts of one request; with the waits below a server may be away for half a minute."""
FIRST_WAIT_S, LONGEST_WAIT_S, JITTER_S = 1.0, 60.0, 1.0
"""Waits double from the first to the longest one; a random part of the jitter is added to each."""
LONGEST_RETRY_AFTER_S = 900
"""A server that asks for a longer pause ends the ingest; the next one goes on where it ended."""
TIMEOUT_S = (10.0, 60.0)
"""For the connection, and for each part of an answer."""
ANSWER_S = 600.0
"""Longest time for one answer."""
MOST_BYTES = 256 * 2**20
"""Largest answer, unpacked."""
SAME_AGAIN = 2
"""How often a request is sent again when its answer is that of an earlier page."""
_BROKEN = (ConnectionError, Timeout, ChunkedEncodingError, ContentDecodingError)
_LONG_AGO = 10**9
"""Seconds since 1970 by which a reset is a time; a smaller number is a duration."""
_EMPTY = 2
"""Bytes of a page without rows; several pages may be."""
_SHOWN = 200
"""Characters of an answer that a message shows."""


class Refused(DataError):
    """An answer that a repetition of the request does not mend."""


class SourceUnavailable(StoreError, Temporary):
    """A source that did not answer as it should after all attempts; a later ingest may succeed."""

    after_s = 60.0


class _NotYet(Exception):
    """An answer after which the request is sent again, in `after_s` seconds when the server says so."""

    def __init__(self, text: str, after_s: float | None = None) -> None:
        super().__init__(text)
        self.after_s = after_s


class _Wait(tenacity.wait_exponential):
    """Waits as long as the server asks for, else longer each time."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        after = error.after_s if isinstance(error, _NotYet) else None
        return super().__call__(retry_state) if after is None else after


class _Token(OAuth2ClientCredentials):
    """OAuth2 client credentials: a token is fetched before the first request, when it expires or is refused."""

    _ends = 0.0

    def obtain_token(self) -> None:
        """Fetch a token. Raises _NotYet for an answer that may change, ValueError for any other without a token."""
        answer = self.session.post(self.access_token_url, **self.build_access_token_request())
        if answer.status_code == 429 or answer.status_code >= 500:
            raise _NotYet(f"the token service answers {answer.status_code} {answer.reason}", _retry_after(answer))
        try:
            found = answer.json()
            token, expires_s = found["access_token"], self.parse_expiration_in_seconds(found)
        except (ValueError, TypeError, KeyError, AttributeError):
            token = None
        if answer.status_code >= 400 or not isinstance(token, str) or not token:
            raise ValueError(
                f"expected an access_token from {self.access_token_url}, got {answer.status_code} {answer.reason}: "
                f"{_start(answer.content)}; are client_id and client_secret right?"
            )
        self.access_token = token
        self._ends = time.monotonic() + expires_s

    def is_token_expired(self) -> bool:
        """Return True when the token's time is over."""
        return time.monotonic() >= self._ends


class RestSession(Session):
    """A session for one source. All of its errors name the source and the URL, without secrets."""

    def __init__(self, source: RESTSource, clock: Clock) -> None:
        """source: its secrets are read from the environment now. Raises StageError when one is missing."""
        super().__init__(timeout=TIMEOUT_S, raise_for_status=False)
        self.where = f"RESTSource '{source.name}'"
        self._origin = _origin(source.url)
        self._clock = clock
        self._interval = timedelta(microseconds=source.micros_between_requests)
        self._next_at = clock.now()
        self._secrets: set[str] = set()
        self._seen: set[bytes] = set()
        self._authentication = self._opened(source.auth)
        self._retry = tenacity.Retrying(
            sleep=clock.sleep,
            wait=_Wait(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S) + tenacity.wait_random(0, JITTER_S),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            retry=tenacity.retry_if_exception_type((_NotYet, *_BROKEN)),
            reraise=True,
        )

    def forget_answers(self) -> None:
        """Begin a new sweep: from now on each answer must differ from those before it."""
        self._seen.clear()

    def reveal(self, value: Any) -> Any:
        """Return a value of the definition with the values of its secrets, which no message will show."""
        if isinstance(value, Mapping):
            return {key: self.reveal(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.reveal(inner) for inner in value]
        if not isinstance(value, str | Secret):
            return value
        found = reveal(value, self.where)
        if found != value:
            self._secrets.update({found, quote(found), quote_plus(found)} - {""})
        return found

    def shown(self, text: str) -> str:
        """Return a text for a message, with *** in place of each secret."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def error(self, request: PreparedRequest | None, text: str) -> Refused:
        """Return an error about a request."""
        return Refused(self._message(request, text))

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send a request until its answer is JSON. Raises Refused, or SourceUnavailable when all attempts failed."""
        if kwargs.get("allow_redirects") is False:  # one step of a redirect, which is inside of an attempt
            return cast(Response, super().send(request, **kwargs))  # type: ignore[no-untyped-call]  # of dlt
        kwargs |= {"stream": True, "timeout": TIMEOUT_S, "allow_redirects": True}
        try:
            return self._retry(self._send_once, request, kwargs)
        except _NotYet as error:
            raise SourceUnavailable(self._message(request, f"{error}; {ATTEMPTS} attempts")) from None
        except RequestException as error:
            tries = f"; {ATTEMPTS} attempts" if isinstance(error, _BROKEN) else ""
            raise SourceUnavailable(self._message(request, f"{_reason(error):.{_SHOWN}}{tries}")) from None

    def get_redirect_target(self, resp: Response) -> str | None:
        """Return where a redirect leads. Raises Refused for another host, which would get the credentials."""
        target = super().get_redirect_target(resp)
        if target is not None and urlsplit(target).netloc:
            self.expect_origin(target, resp.request, "it redirects")
        return target

    def expect_origin(self, url: str, request: PreparedRequest | None, what: str) -> None:
        """Raise Refused unless a URL has the scheme, host and port of the source."""
        if _origin(url) != self._origin:
            raise self.error(
                request,
                f"{what} to another host, {sanitize_url(url):.{_SHOWN}}, which must not get the credentials; expected "
                f"{self._origin[0]}://{self._origin[1]}:{self._origin[2]}",
            )

    def _send_once(self, request: PreparedRequest, kwargs: dict[str, Any]) -> Response:
        now = self._clock.now()
        if now < self._next_at:
            self._clock.sleep(min((self._next_at - now).total_seconds(), self._interval.total_seconds()))
        self._next_at = self._clock.now() + self._interval
        self._authenticate(request)
        response = cast(Response, super().send(request, **kwargs))  # type: ignore[no-untyped-call]  # of dlt
        with response:
            body = self._read(response)
        status = response.status_code
        if status == 401 and isinstance(self._authentication, _Token):
            self._authentication.access_token = None
            raise _NotYet("the server refuses the OAuth2 token (401)", 0.0)
        if status in (408, 425, 429) or status >= 500 or (status == 403 and "Retry-After" in response.headers):
            raise self._not_yet(response, f"the server answers {status} {response.reason}")
        if status >= 400:
            hint = "; are the secrets right that auth names?" if status in (401, 403) else ""
            raise self.error(request, f"the server answers {status} {response.reason}{hint}: {_start(body)}")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            kind = response.headers.get("Content-Type", "no Content-Type")
            raise self._not_yet(response, f"expected JSON, got {kind}, {len(body):,} bytes: {_start(body)}") from None
        response.json = lambda **_: found  # type: ignore[method-assign]  # parsed once; dlt asks for it several times
        self._expect_new(request, body)
        return response

    def _read(self, response: Response) -> bytes:
        """Read the body in parts, and keep it in the response."""
        ends, size, parts = time.monotonic() + ANSWER_S, 0, []
        for part in response.iter_content(2**20):
            size += len(part)
            parts.append(part)
            if size > MOST_BYTES:
                raise self.error(
                    response.request, f"an answer has more than {MOST_BYTES:,} bytes; ask for smaller pages"
                )
            if time.monotonic() > ends:
                raise Timeout(f"an answer takes more than {ANSWER_S:g} s")
        body = b"".join(parts)
        response._content = body
        return body

    def _expect_new(self, request: PreparedRequest, body: bytes) -> None:
        """Raise _NotYet, at most SAME_AGAIN times a request, when a body is that of an earlier request."""
        digest = hashlib.sha256(body).digest()
        tries = getattr(request, "same_again", 0)
        if len(body) > _EMPTY and digest in self._seen and tries < SAME_AGAIN:
            request.same_again = tries + 1  # type: ignore[attr-defined]
            raise _NotYet("the server answers as to an earlier request")
        self._seen.add(digest)

    def _authenticate(self, request: PreparedRequest) -> None:
        """Add the credentials, on the first attempt or with a token that may have changed."""
        if self._authentication is None:
            return
        if isinstance(self._authentication, _Token):
            try:
                self._authentication(request)
            except ValueError as error:
                raise self.error(None, f"OAuth2: {error}") from None
        elif not getattr(request, "has_credentials", False):
            self._authentication(request)
            request.has_credentials = True  # type: ignore[attr-defined]

    def _not_yet(self, response: Response, text: str) -> _NotYet:
        after = _retry_after(response)
        if after is not None and after > LONGEST_RETRY_AFTER_S:
            wait = f"{text}, and asks to wait {after:,.0f} s; run trimtab ingest again then"
            raise SourceUnavailable(self._message(response.request, wait))
        return _NotYet(text, after)

    def _message(self, request: PreparedRequest | None, text: str) -> str:
        place = "" if request is None else f"{request.method} {sanitize_url(request.url or '')}: "
        return self.shown(f"{self.where}: {place}{text}")

    def _opened(self, auth: Mapping[str, Any] | None) -> AuthConfigBase | None:
        if auth is None:
            return None
        values = {key: self.reveal(value) for key, value in auth.items() if key != "type"}
        kind = auth.get("type", "bearer")
        if kind == "oauth2_client_credentials":
            return _Token(session=Session(timeout=TIMEOUT_S, raise_for_status=False), **values)
        kinds: dict[str, type[AuthConfigBase]] = {
            "bearer": BearerTokenAuth,
            "api_key": APIKeyAuth,
            "http_basic": HttpBasicAuth,
        }
        return kinds[kind](**values)


def _retry_after(response: Response) -> float | None:
    """Return the seconds after which the server wants the next request, by Retry-After or X-RateLimit-Reset."""
    header, reset = response.headers.get("Retry-After"), response.headers.get("X-RateLimit-Reset", "")
    if header is None and response.headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
        header = formatdate(int(reset), usegmt=True) if int(reset) > _LONG_AGO else reset
    try:
        return None if header is None else Retry().parse_retry_after(header)
    except (InvalidHeader, OverflowError, ValueError):
        return None


def _reason(error: BaseException) -> str:
    """Return the innermost reason of an error of the connection."""
    inner: object = getattr(error, "reason", None) or next(iter(error.args), None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error).rpartition("): ")[2] or type(error).__name__


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _start(body: bytes) -> str:
    """Return the beginning of a body for a message."""
    text = " ".join(body[: 4 * _SHOWN].decode("utf-8", "replace").split())
    return f"'{text:.{_SHOWN}}'" + ("..." if len(text) > _SHOWN else "")
