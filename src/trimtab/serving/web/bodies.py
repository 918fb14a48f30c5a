"""Compressed request bodies, unpacked under a limit. Called by asgi."""

from __future__ import annotations

import zlib

from trimtab.serving.requests import Refused

WINDOWS = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}
"""Content-Encoding -> window bits that zlib may need; some clients send deflate without its header."""


def inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Return a body unpacked. Raises Refused: 415 for an encoding that is not served, 413, 400."""
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in WINDOWS:
        raise Refused(415, f"content encoding '{name.decode('latin-1'):.40}' is not served; expected gzip or deflate")
    for bits in WINDOWS[name]:
        unpacker = zlib.decompressobj(bits)
        try:
            found = unpacker.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(found) > limit:
            raise Refused(413, f"the body is larger than {limit} bytes unpacked; send the rows in several requests")
        if unpacker.eof and not unpacker.unused_data:
            return found
    raise Refused(400, f"the body is not whole {name.decode()} data")
