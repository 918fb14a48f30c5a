"""Follows the revisions in the metadata store and swaps what serves. Started by server, in a thread of its own.

A revision takes effect when all of its bundles are verified, loaded and warm; until then, and when that
fails, the gateway goes on with what it has. The previous champion stays loaded, so a rollback is a swap.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from trimtab.errors import DataError, TrimtabError
from trimtab.records import Assignment, Bundle, Revision
from trimtab.serving.runtime import LoadedBundle, VectorizerFactory, load_bundle
from trimtab.serving.table import Lane, ModelTable, RoutingTable
from trimtab.stores.artifacts import Artifacts
from trimtab.stores.metadata import Metadata, latest

RETRY_POLLS = 25
"""Polls after which a revision that failed to load is tried again."""

logger = logging.getLogger(__name__)


class Revisions:
    """Turns revisions into routing tables. `poll` belongs to one thread."""

    def __init__(
        self,
        metadata: Metadata,
        artifacts: Artifacts,
        vectorizer_factory: VectorizerFactory,
        *,
        sticky: Sequence[str] | None = None,
    ) -> None:
        self._metadata = metadata
        self._artifacts = artifacts
        self._vectorizer_factory = vectorizer_factory
        self._sticky = sticky
        self._bundles: dict[str, LoadedBundle] = {}
        self._tables: dict[str, ModelTable] = {}
        self._errors: dict[str, str] = {}
        self._newest: str | None = None
        self._polls = 0
        self._read = False

    def poll(self) -> RoutingTable | None:
        """Look once; return the table that is to serve from now on, or None when nothing changed."""
        self._polls += 1
        newest = latest(self._metadata, Revision)
        retry = bool(self._errors) and self._polls % RETRY_POLLS == 0
        if self._read and not retry and (newest is None or newest.id == self._newest):
            return None
        current: dict[str, Revision] = {}
        for revision in self._metadata.find(Revision):
            current.setdefault(revision.model, revision)
        waiting = [revision for revision in current.values() if not self._serves(revision)]
        loaded = [revision for revision in waiting if self._is_loaded(revision)]
        for revision in loaded or waiting:  # a rollback does not wait until another model's bundle is loaded
            self._follow(revision)
        if len(loaded) in (0, len(waiting)):
            self._newest = newest.id if newest is not None else None
            self._read = True
        in_use = {bundle.id: bundle for table in self._tables.values() for bundle in _bundles_of(table)}
        self._bundles = in_use
        return RoutingTable(
            models=dict(self._tables), errors=dict(self._errors), complete=self._tables.keys() >= current.keys()
        )

    def _serves(self, revision: Revision) -> bool:
        serving = self._tables.get(revision.model)
        return (
            serving is not None
            and serving.revision == revision.number
            and len(serving.lanes) == len(revision.assignments)
        )

    def _is_loaded(self, revision: Revision) -> bool:
        return all(assignment.bundle in self._bundles for assignment in revision.assignments)

    def _follow(self, revision: Revision) -> None:
        model, serving = revision.model, self._tables.get(revision.model)
        self._errors.pop(model, None)
        try:
            self._tables[model] = self._table(revision, serving)
        except TrimtabError as error:
            self._errors[model] = f"revision {revision.number}: {error}"
            goes_on = f"revision {serving.revision} goes on serving" if serving else "nothing serves it"
            logger.error("model %s, revision %d cannot serve; %s: %s", model, revision.number, goes_on, error)
        else:
            logger.info("model %s: revision %d serves (%s)", model, revision.number, revision.action)

    def _table(self, revision: Revision, serving: ModelTable | None) -> ModelTable:
        if revision.bundle_in("champion") is None:
            raise DataError(f"{revision.id} assigns no champion")
        lanes = []
        for assignment in revision.assignments:
            try:
                lanes.append(Lane(assignment.role, self._bundle(assignment), assignment.weight))
            except TrimtabError as error:
                if serving is not None or assignment.role == "champion":
                    raise
                self._errors[revision.model] = (
                    f"revision {revision.number} serves without its {assignment.role}: {error}"
                )
                logger.error("model %s: %s", revision.model, self._errors[revision.model])
        loaded = {lane.bundle.id for lane in lanes}
        before = [] if serving is None else [serving.champion.bundle, *serving.warm]
        warm = [bundle for bundle in before if bundle.id not in loaded][:1]
        return ModelTable(revision, lanes, sticky=self._sticky, warm=warm)

    def _bundle(self, assignment: Assignment) -> LoadedBundle:
        found = self._bundles.get(assignment.bundle)
        if found is None:
            record = self._metadata.get(Bundle, assignment.bundle)
            found = self._bundles[record.id] = load_bundle(record, self._artifacts, self._vectorizer_factory)
        return found


class Watch:
    """Polls in a thread and hands each new table over, until it is stopped."""

    def __init__(self, revisions: Revisions, hand_over: Callable[[RoutingTable], object], *, every_s: float) -> None:
        self._revisions = revisions
        self._hand_over = hand_over
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revisions", daemon=True)

    def start(self) -> None:
        """Begin polling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling and wait for the poll under way."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        failing = False
        while not self._stopped.is_set():
            try:
                table = self._revisions.poll()
                failing = False
            except Exception as error:  # the border of the loop: the store may be away for a while
                if not failing:
                    logger.error("the revisions cannot be read, what serves goes on: %s", error)
                failing, table = True, None
            if table is not None and not self._stopped.is_set():
                self._hand_over(table)
            self._stopped.wait(self._every_s)


def _bundles_of(table: ModelTable) -> list[LoadedBundle]:
    return [*(lane.bundle for lane in table.lanes), *table.warm]
