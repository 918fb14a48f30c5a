"""A bundle in memory, verified and warm. Called by revisions; scored by scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trimtab.bundle import Scorer, Spec, read_spec, verify
from trimtab.errors import DataError, TrimtabError
from trimtab.records import Bundle
from trimtab.stores.artifacts import Artifacts

WARM_UP_ROWS = (1, 2, 32, 1)
"""Sizes scored before a bundle serves: ONNX Runtime plans its memory on the first run of each shape."""


class Vectorizer(Protocol):
    """Turns what a request brings into what a model takes."""

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return float32 (rows, features), each row as of its moment `at` (microseconds since the epoch).

        Rows do not depend on one another: rows of several requests may come in one call.
        Raises DataError when a value cannot be used.
        """
        ...


VectorizerFactory = Callable[[Path, Spec], Vectorizer]
"""Makes the vectorizer of a bundle from its folder and its spec."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedBundle:
    """A bundle that is ready to score."""

    id: str
    version: int
    digest: str
    spec: Spec
    scorer: Scorer
    vectorizer: Vectorizer
    recipe: tuple[object, ...]
    """What its vectors depend on: bundles with equal recipes share vectors."""


def load_bundle(record: Bundle, artifacts: Artifacts, vectorizer_factory: VectorizerFactory) -> LoadedBundle:
    """Fetch, verify, open and warm up a bundle.

    Nothing of the folder is opened before its digest was checked. Raises a TrimtabError that names the bundle.
    """
    try:
        folder = artifacts.open(record.path)
        verify(folder, record.digest)
        spec = read_spec(folder)
        if spec.model != record.model:
            raise DataError(f"{folder}: made for model '{spec.model}', registered for '{record.model}'")
        scorer = Scorer.open(folder, spec.task)
        warm_up(scorer, len(spec.features))
        vectorizer = vectorizer_factory(folder, spec)
    except TrimtabError as error:
        raise DataError(f"bundle {record.id} cannot be loaded: {error}") from error
    except Exception as error:  # strangers' code: ONNX Runtime and the project's transforms
        raise DataError(f"bundle {record.id} cannot be loaded: {type(error).__name__}: {error}") from error
    return LoadedBundle(
        id=record.id,
        version=record.version,
        digest=record.digest,
        spec=spec,
        scorer=scorer,
        vectorizer=vectorizer,
        recipe=(spec.features, spec.views, spec.code_hash),
    )


def warm_up(scorer: Scorer, features: int) -> None:
    """Score some rows of zeros. Raises DataError when the graph does not take rows of `features` columns."""
    for rows in WARM_UP_ROWS:
        try:
            scores = scorer.score(np.zeros((rows, features), dtype=np.float32))
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise DataError(f"the graph does not score rows of {features} features: {error}") from error
        if scores.shape != (rows,):
            raise DataError(f"the graph gave {scores.shape} scores for {rows} rows; expected one a row")
