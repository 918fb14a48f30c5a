"""Numbers that stand for inputs: equal feature vectors have equal ones, others all but never. Called by tally.

A vector's bits, word by word times a fixed odd number, added up modulo 2^64 (multilinear hashing: Dietzfelbinger 1996),
then mixed by the finalizer of SplitMix64 (Steele et al. 2014), so that they lie evenly. The same in every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint64]]


def fingerprints(vectors: Sequence[np.ndarray[Any, Any]]) -> Words:
    """Return one number a row of some float32 matrices (rows, features), all in one array."""
    if len({matrix.shape[1] for matrix in vectors}) > 1:
        return np.concatenate([fingerprints([matrix]) for matrix in vectors])
    rows = np.ascontiguousarray(vectors[0] if len(vectors) == 1 else np.concatenate(vectors), dtype=np.float32)
    return _mixed((rows.view(np.uint32) * _factors(rows.shape[1])).sum(axis=1, dtype=np.uint64))


@lru_cache(maxsize=32)
def _factors(features: int) -> Words:
    return _mixed(np.arange(1, features + 1, dtype=np.uint64)) | np.uint64(1)


def _mixed(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
