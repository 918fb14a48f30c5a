"""Finds which row of each key of a source stands, from the rows that come and from what stood before them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trimtab.features.table_columns import NEVER, encode_keys
from trimtab.features.value_types import Array
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

_STANDING = struct.Struct("<qqq")


class Standing(NamedTuple):
    """The row of a key that counts: when it became known, its number, from when on it counts, its entity's key.

    Times are in microseconds. The key is empty where the row has no entity.
    """

    known: int
    row: int
    effective: int
    entity: bytes

    def pack(self) -> bytes:
        """Return the bytes that are stored."""
        return _STANDING.pack(self.known, self.row, self.effective) + self.entity

    @classmethod
    def unpack(cls, value: bytes) -> Standing:
        """Return what `pack` packed."""
        known, row, effective = _STANDING.unpack_from(value)
        return cls(known, row, effective, value[_STANDING.size :])


def latest_of(before: Mapping[bytes, Standing], rows: Iterable[tuple[bytes | None, Standing]]) -> dict[bytes, Standing]:
    """Return which row of each key stands after some rows came.

    Of the rows of one key the one that became known last stands; of those known at one time, the one taken in last.

    Args:
        before: the rows that stood, by the digest of their key.
        rows: the rows that came, with the digest of their key, None for none.
    """
    now = dict(before)
    for digest, row in rows:
        if digest is not None and row.known != NEVER:
            other = now.get(digest)
            if other is None or row[:2] > other[:2]:
                now[digest] = row
    return now


def stands(digests: Sequence[bytes | None], standing: Mapping[bytes, Standing], numbers: Array) -> Array:
    """Return which rows stand, by the digests of their keys and their numbers; bool."""
    found = (
        digest is None or ((one := standing.get(digest)) is not None and one.row == number)
        for digest, number in zip(digests, numbers.tolist(), strict=True)
    )
    return np.fromiter(found, dtype=bool, count=len(numbers))


def key_digests(keys: pl.DataFrame) -> list[bytes | None]:
    """Return 16 bytes that identify the key of each row; None where a part of the key is null."""
    plain = keys.select(
        (pl.col(name) + 0.0 if dtype.is_float() else pl.col(name)).cast(pl.String)
        for name, dtype in keys.schema.items()
    )
    lacking = plain.select(pl.any_horizontal(pl.all().is_null())).to_series().to_list()
    return [
        None if none else hashlib.blake2b(key, digest_size=16).digest()
        for none, key in zip(lacking, encode_keys(plain), strict=True)
    ]
