"""A project as a reader of some of its models sees it: the other models, and records of them, are not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

from trimtab.app.project.workspace import Workspace
from trimtab.errors import Forbidden, NotFound
from trimtab.records.data import CheckReport
from trimtab.records.record import Record
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.chain import LedgerState
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.rows import not_found
from trimtab.stores.online.contract import Online
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.tables.contract import Tables

R = TypeVar("R", bound=Record)

CHECKED_FEATURES = "features:"
"""Before the name of a model, in a report on the features of its training set, in place of a table."""
SUGGESTED = 200
"""Newest ids from which the error for an unknown id takes the nearest one."""


class LimitedWorkspace(Workspace):
    """A workspace whose definitions and metadata have only some models. Its stores are those of the whole one.

    Tables, features and the prediction log belong to all models, and are whole.
    """

    def __init__(self, whole: Workspace, models: Sequence[str]) -> None:
        known = whole.project.definitions
        own = {name: model for name, model in known.models.items() if name in models}
        prompts = {name: prompt for name, prompt in known.prompts.items() if name in models}
        definitions = dataclasses.replace(known, models=own, prompts=prompts)
        super().__init__(dataclasses.replace(whole.project, definitions=definitions), whole.environment, whole.clock)
        self._whole, self._models = whole, tuple(models)

    def shows(self, model: str) -> bool:
        """Return True if a reader of this workspace may see a model."""
        return model in self._models

    @cached_property
    def metadata(self) -> Metadata:
        """The records of the models, and those of no model."""
        return LimitedMetadata(self._whole.metadata, self._models)

    @cached_property
    def tables(self) -> Tables:
        """Versioned tables."""
        return self._whole.tables

    @cached_property
    def online(self) -> Online:
        """Feature values for serving."""
        return self._whole.online

    @cached_property
    def artifacts(self) -> Artifacts:
        """Datasets and bundles."""
        return self._whole.artifacts

    @cached_property
    def predictions(self) -> Predictions:
        """The prediction log."""
        return self._whole.predictions


class LimitedMetadata(Metadata):
    """Reads records of some models, and those of no model, from a metadata store; writes what it is given."""

    def __init__(self, whole: Metadata, models: Sequence[str]) -> None:
        self._whole, self._models = whole, tuple(models)

    def put(self, *records: Record) -> None:
        """Write records, as the contract says."""
        self._whole.put(*records)

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound, and Forbidden for a record of another model."""
        try:
            found = self._whole.get(kind, id_)
        except NotFound:  # its text may name a record of another model
            raise not_found(kind, id_, [each.id for each in self.find(kind, limit=SUGGESTED)]) from None
        if not self._shows(found):
            raise Forbidden(f"needs the role viewer on {model_of(found)}")
        return found

    def find(
        self,
        kind: type[R],
        /,
        *,
        limit: int | None = None,
        oldest_first: bool = False,
        before: str | None = None,
        **where: object,
    ) -> Sequence[R]:
        """Return the records of a kind that match. Raises as the contract says, and as `get` for `before`."""
        if before is not None:
            self.get(kind, before)
        limited: Any = self._limited(kind, where)
        if limited is None:
            return ()
        most = limit
        while True:
            every = self._whole.find(kind, limit=most, oldest_first=oldest_first, before=before, **limited)
            found = [each for each in every if self._shows(each)]
            if limit is None or most is None or len(found) >= limit or len(every) < most:
                return found[:limit]
            most *= 8

    def count(self, kind: type[Record], /, **where: Any) -> int:
        """Return the number of records that `find` would return."""
        limited = self._limited(kind, where)
        if limited is None:
            return 0
        return self._whole.count(kind, **limited) if "model" in kind.KEYS else len(self.find(kind, **where))

    def positions(self) -> dict[str, int]:
        """Return the position of the newest record of each kind, of any model."""
        return self._whole.positions()

    def check(self) -> Sequence[Fault]:
        """Return the faults of the whole store."""
        return self._whole.check()

    def verify(self, *, last: int | None = None) -> LedgerState:
        """Verify the whole ledger."""
        return self._whole.verify(last=last)

    def close(self) -> None:
        """Close the connections."""
        self._whole.close()

    def _shows(self, record: Record) -> bool:
        return shown_to(record, self._models)

    def _limited(self, kind: type[Record], where: dict[str, object]) -> dict[str, object] | None:
        """Return the conditions for the models that are asked for and shown; None where there is no such model."""
        if "model" not in kind.KEYS:
            return where
        asked = where.get("model", (*self._models, ""))
        names = asked if isinstance(asked, tuple) else (asked,)
        shown = tuple(name for name in names if name in (*self._models, ""))
        return {**where, "model": shown} if shown else None


def shown_to(record: Record, models: Sequence[str]) -> bool:
    """Return True if a record is of one of the models or of none. models: empty for all."""
    return not models or model_of(record) in (*models, "")


def model_of(record: Record) -> str:
    """Return the model that a record is about, "" for the whole project."""
    if isinstance(record, CheckReport):
        return record.table.partition(CHECKED_FEATURES)[2]
    return getattr(record, "model", None) or ""


def limited(workspace: Workspace, models: Sequence[str]) -> Workspace:
    """Return a workspace as a reader of `models` sees it; empty for all."""
    return LimitedWorkspace(workspace, models) if models else workspace
