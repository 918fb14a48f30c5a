"""What a protocol is to the server: routes, calls and answers. Filled by protocols, run by asgi."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from trimtab.serving.requests import MAX_ID

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
