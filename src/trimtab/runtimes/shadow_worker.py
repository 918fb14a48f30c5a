"""The program of a process that scores with a shadow bundle: `python -m trimtab.runtimes.shadow_worker`.

Its first frame names the bundle. It checks the bundle's digest before it opens any other file. In addition to NumPy it
imports only the library of the bundle's runtime.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from trimtab.bundle.manifest import verify
from trimtab.bundle.spec import Spec
from trimtab.bundle.typed_matrix import zero_rows
from trimtab.bundle.typed_packing import feature_schema
from trimtab.runtimes import pipe_frames
from trimtab.runtimes.answering import Predict, answer_rows
from trimtab.runtimes.memory_trim import give_back
from trimtab.runtimes.opening import open_scorer


class Opening(msgspec.Struct, frozen=True):
    """The bundle of a folder. digest: empty when it has none. trust: policy `serving.trust`."""

    folder: str
    digest: str
    spec: Spec
    trust: tuple[str, ...]


def open_bundle(rows_fd: int) -> tuple[Predict, str]:
    """Open the bundle of the first frame, and score one row. Raises DataError and the runtime's exceptions."""
    opening = msgspec.json.decode(pipe_frames.read(rows_fd)[1], type=Opening)
    folder, spec = Path(opening.folder), opening.spec
    if opening.digest:
        verify(folder, opening.digest)
    scorer = open_scorer(folder, spec, trust=opening.trust)
    scorer.score(zero_rows(feature_schema(spec), 1, len(spec.features)))
    give_back()
    return scorer.score, spec.task


if __name__ == "__main__":
    answer_rows(open_bundle)
