"""What a protocol is to the server: routes, calls and answers. Filled by protocols, run by asgi."""

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
LENGTH_HEADER = b"inference-header-content-length"
NOTED = frozenset((MODEL_HEADER, VERSION_HEADER, REQUEST_ID_HEADER, ENCODING_HEADER, LENGTH_HEADER))
"""Headers that mean something to every request, and that most requests do not have: looked for once."""

Verb = Literal["open", "infer", "feedback", "read", "admin"]
"""What a token must allow; open needs none."""
Headers = Sequence[tuple[bytes, bytes]]
EncodeError = Callable[[int, str], bytes]
"""Writes an error of a status and a text in the protocol's own shape, as JSON."""


class Answer(msgspec.Struct, gc=False):
    """A status, a body, its content type, and further headers."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()


class Call(msgspec.Struct, gc=False):
    """One HTTP request with its body. params: the parts of the path that the route names, percent-decoded."""

    params: Mapping[str, str]
    headers: Headers
    query: bytes
    body: bytes
    received_ns: int
    noted: Mapping[bytes, bytes] | None = None
    """Those of `headers` that are in NOTED; None when nobody has looked."""
    checked: str | None = None
    """The model that the caller's token was checked for, where the path names none."""

    def header(self, name: bytes) -> str | None:
        """Return a header's value; `name` in lower case."""
        if self.noted is not None and name in NOTED:
            found = self.noted.get(name)
            return None if found is None else found.decode("latin-1")
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def request_id(self) -> str | None:
        """The header X-Request-Id, for a protocol whose body brings no id; None when it cannot be one."""
        found = self.header(REQUEST_ID_HEADER)
        return found if found and len(found) <= MAX_ID else None

    @property
    def model(self) -> str | None:
        """The model that the path names, or that the token was checked for, or the header X-Trimtab-Model names."""
        return self.params.get("model") or self.checked or self.header(MODEL_HEADER)

    @property
    def version(self) -> str | None:
        """The version that the path or the header X-Trimtab-Version pins."""
        return self.params.get("version") or (None if self.noted == {} else self.header(VERSION_HEADER))


def request_id_header(text: str) -> Headers:
    """Return the header that tells a client the id of its request; nothing when a header cannot hold the id."""
    return ((REQUEST_ID_HEADER, text.encode()),) if text.isascii() and text.isprintable() else ()


Handler = Callable[[Call], Awaitable[Answer]]


class Content(NamedTuple):
    """One form of a body, for the OpenAPI document."""

    schema: Any
    """A type that msgspec can describe, a tuple of such types, or a JSON schema as a dict."""
    example: Any = None
    content_type: str = "application/json"


class Description(NamedTuple):
    """What a route takes and gives, for the OpenAPI document; where a route has none, any JSON is described."""

    takes: Sequence[Content] = ()
    gives: Sequence[Content] = ()
    errors: Mapping[int, str] = {}
    """Statuses of errors beyond those that every route of its verb can give, and what they mean."""
    also: Mapping[int, Content] = {}
    """Answers of other statuses that are no errors of the protocol's shape."""
    detail: str = ""


class Route(NamedTuple):
    """One path and method. Segments of the path in braces, such as {model}, take any text without a slash.

    Texts around the braces are literal: "/v1/models/{model}:predict".
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    verb: Verb
    handle: Handler
    encode_error: EncodeError
    summary: str
    """One line for the OpenAPI document."""
    description: Description | None = None
    names_model: Callable[[Headers], str | None] | None = None
    """Reads the model from a platform's own header, which then goes before X-Trimtab-Model; None without it."""
    protocol: str = "none"
    """Name of the protocol in counts, such as open_inference."""

    def of(self, protocol: str) -> Route:
        """Return the route as one of a protocol."""
        return self._replace(protocol=protocol)


def encode_error(status: int, message: str) -> bytes:
    """Write an error outside of any protocol."""
    return msgspec.json.encode({"error": message})


HOW = "send it as the header 'Authorization: Bearer TOKEN'; tokens are made with: trimtab token create NAME"


@dataclass(frozen=True, slots=True)
class Grants:
    """What each token opens and when it ends, by the SHA-256 of its secret. Immutable: changes come as a new one."""

    by_digest: Mapping[bytes, tuple[Grant, datetime | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> Grants:
        """Return the grants as they come from the supervisor."""
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
    """Checks requests against the grants of the moment; `grants` may be replaced at any time, from any thread."""

    def __init__(self, grants: Grants, clock: Clock) -> None:
        self.grants = grants
        self._clock = clock

    def check(self, headers: Headers, verb: Verb, model: str | None) -> None:
        """Let a request pass, or raise Refused: 401 without a valid token, 403 when it does not allow this.

        headers: names in lower case. model: what the request is about; None for what concerns all models, which
        only a token for all models opens.
        """
        if verb == "open":
            return
        for name, value in headers:
            if name == b"authorization":
                if value[:7].lower() != b"bearer ":
                    raise Refused(401, f"the header Authorization holds no bearer token; {HOW}")
                secret = value[7:].strip()
                break
            if name == b"x-api-key":
                secret = value
                break
        else:
            raise Refused(401, f"this gateway asks for a token; {HOW}")
        found = self.grants.by_digest.get(hashlib.sha256(secret).digest())
        if found is None:
            raise Refused(401, "the token is not known: mistyped, revoked, or of another gateway; " + HOW)
        grant, ends = found
        if ends is not None and ends <= self._clock.now():
            raise Refused(401, f"the token '{grant.name}' has expired; {HOW}")
        if verb not in grant.verbs:
            raise Refused(403, f"the token '{grant.name}' does not allow '{verb}', only: {', '.join(grant.verbs)}")
        if grant.models and model not in grant.models:
            what = f"model '{model:.100}'" if model else "what concerns all models"
            raise Refused(403, f"the token '{grant.name}' does not open {what}, only: {', '.join(grant.models)}")
