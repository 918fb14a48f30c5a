"""The training set behind a run or a bundle; of a prompt, the examples that it was judged on, in the same form."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Protocol

from trimtab.bundle.prompt_spec import TURN_FEATURES
from trimtab.errors import NotFound
from trimtab.records.llm import EvalSetVersion
from trimtab.records.training import DatasetVersion
from trimtab.stores.metadata.contract import Metadata


class Made(Protocol):
    """A run or a bundle."""

    @property
    def model(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


def is_examples(dataset: str) -> bool:
    """Return True if `dataset` of a run or a bundle is the id of an EvalSetVersion (name/hash), or empty."""
    return not dataset or "/" in dataset


def training_set(metadata: Metadata, of: Made) -> DatasetVersion:
    """Return the training set of a run or a bundle.

    A prompt has none. Its set of examples counts as one, known when `of` was made, with a labelled row for each item;
    it has no rows where this store lacks the set. Raises NotFound for a training set that is not there.
    """
    if not is_examples(of.dataset):
        return metadata.get(DatasetVersion, of.dataset)
    found: EvalSetVersion | None = None
    with suppress(NotFound):
        found = metadata.get(EvalSetVersion, of.dataset)
    items = found.items if found else 0
    return DatasetVersion(
        id=of.dataset,
        created_at=found.created_at if found else of.created_at,
        model=of.model,
        start=of.created_at,
        as_of=of.created_at,
        split_at=of.created_at,
        rows=items,
        labelled=items,
        holdout_rows=items,
        label_mean=0.0,
        tables={},
        views=(),
        code_hash="",
        features=TURN_FEATURES,
        path=found.path if found else "",
    )
