"""Refuses requests whose headers leave open where they are sent, or where their bodies end."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.serving.http1.targets import Targets


class Refusal(Exception):
    """A request that is refused while it is parsed: status and text."""


def check_host(value: bytes, known: bytes | None, targets: Targets) -> None:
    """Refuse a second or malformed Host (RFC 9112, 3.2). known: the one that came before. Raises Refusal."""
    if known is not None:
        raise Refusal(400, "the header Host came twice; expected one")
    if not targets.is_host(value):
        raise Refusal(400, f"the header Host is '{value.decode('latin-1'):.100}'; expected NAME or NAME:PORT")


def check_coding(value: bytes) -> None:
    """Refuse transfer encodings other than `chunked` (RFC 9112, 6.1). Raises Refusal.

    The parser itself refuses a second `chunked` and a second Content-Length.
    """
    if value.lower() != b"chunked":
        text = value.decode("latin-1")
        raise Refusal(501, f"transfer encoding '{text:.100}' is not served; expected chunked, or Content-Encoding")


def is_last_of_old(version: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Accept HTTP/1.0 only; return True if the request is the last of its connection. Raises Refusal.

    A chunked body, unknown to HTTP/1.0, is (RFC 9112, 6.1).
    """
    if version != "1.0":
        raise Refusal(505, f"HTTP/{version} is not supported; expected HTTP/1.1")
    return any(name == b"transfer-encoding" for name, _ in headers)
