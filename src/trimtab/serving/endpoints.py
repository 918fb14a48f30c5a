"""The contract between protocols and the HTTP server: routes, calls and answers; and the check of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from trimtab.clock import Clock, from_micros
from trimtab.serving.orders import Grant
from trimtab.serving.requests import MAX_ID, Refused

JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"
MODEL_HEADER, VERSION_HEADER = b"x-trimtab-model", b"x-trimtab-version"
REQUEST_ID_HEADER = b"x-request-id"
ENCODING_HEADER = b"content-encoding"
CHALLENGE = (b"www-authenticate", b'Bearer realm="trimtab"')
"""Header of an answer with status 401 (RFC 6750, 3)."""
LENGTH_HEADER = b"inference-header-content-length"
NOTED = frozenset((MODEL_HEADER, VERSION_HEADER, REQUEST_ID_HEADER, ENCODING_HEADER, LENGTH_HEADER))
"""Headers that any request may have and few do: collected once a request, into `Call.noted`."""

Permission = Literal["open", "infer", "chat", "embed", "pin", "feedback", "read", "trigger", "admin"]
"""What a token must allow, a verb of `Grant.verbs` and of `trimtab token --verb`; "open" needs no token.

chat: ask prompts; embed: ask for embeddings; pin: name the version of a prompt."""
Headers = Sequence[tuple[bytes, bytes]]
EncodeError = Callable[[int, str], bytes]
"""Encodes an error (status, text) in the JSON shape of a protocol."""
Elsewhere = Callable[[str, bool], tuple[str, EncodeError] | None]
"""Returns the error, and its shape, for a path without a route for its method; None: it is that of all gateways.

The second argument says whether another method has a route there."""


Write = Callable[[bytes], Awaitable[None]]
"""Sends one part of a streamed answer at once; waits while a slow client has much to read. Raises ConnectionResetError
when the client is gone."""


class Answer(msgspec.Struct, gc=False):
    """A status, a body, its content type, and further headers."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()
    stream: Callable[[Write], Awaitable[None]] | None = None
    """Sends the body in parts, in place of `body`. Cancelled when the client disconnects."""


class Call(msgspec.Struct, gc=False):
    """One HTTP request with its body. params: the named parts of the path, percent-decoded."""

    params: Mapping[str, str]
    headers: Headers
    query: bytes
    body: bytes
    received_ns: int
    noted: Mapping[bytes, bytes] | None = None
    """The headers that are in NOTED; None when they were not collected."""
    checked: str | None = None
    """The model that the token was checked for; None when the path names it."""
    client: str | None = None
    """Name of the token; None where none is asked for."""

    def header(self, name: bytes) -> str | None:
        """Return the value of a header, None without it; `name` in lower case."""
        if self.noted is not None and name in NOTED:
            found = self.noted.get(name)
            return None if found is None else found.decode("latin-1")
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def request_id(self) -> str | None:
        """The header X-Request-Id, for protocols without an id in the body; None when missing or longer than MAX_ID."""
        found = self.header(REQUEST_ID_HEADER)
        return found if found and len(found) <= MAX_ID else None

    @property
    def model(self) -> str | None:
        """The model named by the path, else the one that the token was checked for, else the header X-Trimtab-Model."""
        return self.params.get("model") or self.checked or self.header(MODEL_HEADER)

    @property
    def version(self) -> str | None:
        """The version that the path pins, else the header X-Trimtab-Version."""
        return self.params.get("version") or (None if self.noted == {} else self.header(VERSION_HEADER))


def request_id_header(text: str) -> Headers:
    """Return the header with the request id; none when the id has characters that a header cannot hold."""
    return ((REQUEST_ID_HEADER, text.encode()),) if text.isascii() and text.isprintable() else ()


Handler = Callable[[Call], Awaitable[Answer]]


class Content(NamedTuple):
    """One content type of a body, for the OpenAPI document."""

    schema: Any
    """A type that msgspec can describe, a tuple of such types, or a JSON schema as a dict."""
    example: Any = None
    content_type: str = "application/json"


class Description(NamedTuple):
    """The bodies of a route, for the OpenAPI document; a route without it is described as any JSON."""

    takes: Sequence[Content] = ()
    gives: Sequence[Content] = ()
    errors: Mapping[int, str] = {}
    """Error status -> meaning, beyond the errors of every route with the same permission."""
    success: int = 200
    """Status of `gives`."""
    also: Mapping[int, Content] = {}
    """Status -> body of further answers that do not have the protocol's error shape."""
    detail: str = ""


class Route(NamedTuple):
    """One method and path. A name in braces, such as {model}, matches any text without a slash.

    The text around the braces is literal: "/v1/models/{model}:predict".
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    permission: Permission
    handle: Handler
    encode_error: EncodeError
    summary: str
    """One line for the OpenAPI document."""
    description: Description | None = None
    names_model: Callable[[Headers], str | None] | None = None
    """Returns the model that a platform's own header names, which then precedes X-Trimtab-Model; None without it."""
    is_signed: Callable[[Headers], bool] | None = None
    """Returns True for a request that brings another proof than a token, which the handler checks; None without one."""
    protocol: str = "none"
    """Name of the protocol in the metrics, such as open_inference."""
    of_body: bool = False
    """Whether the body names the model, so that the handler checks the token for it (`Access.open`)."""
    is_timed: bool = False
    """Whether the handler limits its own time, so that the limit of all requests does not hold."""

    def of(self, protocol: str) -> Route:
        """Return the route with the protocol's name."""
        return self._replace(protocol=protocol)


def encode_error(status: int, message: str) -> bytes:
    """Encode an error in the shape of requests without a protocol, of KServe v1, MLflow and feedback."""
    return msgspec.json.encode({"error": message})


TOKEN_HINT = "send it as the header 'Authorization: Bearer TOKEN'; tokens are made with: trimtab token create NAME"


@dataclass(frozen=True, slots=True)
class Grants:
    """SHA-256 of a secret -> the grant of its token and when it ends. Immutable: a change is a new object."""

    by_digest: Mapping[bytes, tuple[Grant, datetime | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> Grants:
        """Return the grants that the supervisor has sent."""
        return cls(
            {
                bytes.fromhex(grant.sha256): (
                    grant,
                    None if grant.expires_at is None else from_micros(grant.expires_at),
                )
                for grant in grants
            }
        )


class Access:
    """Checks requests against the current grants. `grants` may be replaced at any time, by any thread."""

    def __init__(self, grants: Grants, clock: Clock) -> None:
        self.grants = grants
        self._clock = clock

    def check(self, headers: Headers, permission: Permission, model: str | None) -> str | None:
        """Return the name of the token; None where none is asked for.

        Raises Refused unless it allows the request: 401 without a valid token, 403 without the right.

        headers: names in lower case. model: the model of the request; None for requests about all models, which need a
        token for all models.
        """
        grant = self.grant(headers, permission)
        if grant is None:
            return None
        self.open(grant, model)
        return grant.name

    def open(self, grant: Grant, model: str | None) -> None:
        """Raise Refused (403) unless a token opens a model; None: all models."""
        if grant.models and model not in grant.models:
            what = f"model '{model:.100}'" if model else "what concerns all models"
            raise Refused(403, f"the token '{grant.name}' does not open {what}, only: {', '.join(grant.models)}")

    def grant(self, headers: Headers, permission: Permission) -> Grant | None:
        """Return what the token of a request opens, whatever its models; None where none is asked for.

        Raises Refused: 401 without a valid token, 403 when it lacks the permission.
        """
        if permission == "open":
            return None
        for name, value in headers:
            if name == b"authorization":
                if value[:7].lower() != b"bearer ":
                    raise Refused(401, f"the header Authorization holds no bearer token; {TOKEN_HINT}")
                secret = value[7:].strip()
                break
            if name == b"x-api-key":
                secret = value
                break
        else:
            raise Refused(401, f"this gateway asks for a token; {TOKEN_HINT}")
        found = self.grants.by_digest.get(hashlib.sha256(secret).digest())
        if found is None:
            raise Refused(401, "the token is not known: mistyped, revoked, or of another gateway; " + TOKEN_HINT)
        grant, ends = found
        if ends is not None and ends <= self._clock.now():
            raise Refused(401, f"the token '{grant.name}' has expired; {TOKEN_HINT}")
        if permission not in grant.verbs:
            raise Refused(
                403, f"the token '{grant.name}' does not allow '{permission}', only: {', '.join(grant.verbs)}"
            )
        return grant
