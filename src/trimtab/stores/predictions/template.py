"""What a message writer needs to know of a schema, as bytes that pyarrow wrote once. Called by templates, messages."""

from __future__ import annotations

from typing import NamedTuple

CHECKSUM_KEY = "crc32"
CHECKSUM_ZERO = b"00000000"
"""The checksum's digits while it is computed."""


class Template(NamedTuple):
    """One schema.

    fields: name, Arrow type and whether it may be null. head: prefix and metadata of a record batch of one row.
    checksum_at: where in the head the eight digits of the checksum stand.
    """

    fields: tuple[tuple[str, str, bool], ...]
    schema_message: bytes
    head: bytes
    checksum_at: int
