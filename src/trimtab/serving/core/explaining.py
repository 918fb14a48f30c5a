"""Explains scores: those of a request, or of an earlier prediction by its id.

In a thread of its own: sampled explanations score some thousand rows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from trimtab.bundle.typed_packing import logged_rows
from trimtab.errors import DataError, StoreError
from trimtab.runtimes.explanations import Explainer, open_explainer
from trimtab.runtimes.model_process import ProcessFailed
from trimtab.serving.core.in_flight import InFlightRequest
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable, Variant
from trimtab.serving.requests import Explanation, Refused
from trimtab.stores.predictions.contract import Predictions

KEPT = 8
"""Explainers that are kept open."""

T = TypeVar("T")


class Explanations:
    """The explainers of the bundles that were asked for. Lives on one event loop."""

    def __init__(self, predictions: Predictions, trust: Collection[str] = ()) -> None:
        self._predictions = predictions
        self._trust = trust
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._explainers: dict[LoadedBundle, Explainer] = {}
        self._served: frozenset[LoadedBundle] | None = None
        self._lock = threading.Lock()

    def keep(self, bundles: Iterable[LoadedBundle]) -> None:
        """Forget the explainers of all other bundles, which serve no more."""
        with self._lock:
            self._served = served = frozenset(bundles)
            self._explainers = {bundle: explainer for bundle, explainer in self._explainers.items() if bundle in served}

    async def check(self, variants: Sequence[Variant]) -> None:
        """Raise Refused if answers of these variants, one a row, cannot be explained. Before any row is scored."""
        bundle = variants[0].bundle
        if any(variant.bundle is not bundle for variant in variants):
            raise Refused(400, "these rows go to several versions; explain them one by one, or pin a version")
        await self._in_thread(bundle, lambda: self._explainer(bundle).check(len(variants)))

    async def of(self, request: InFlightRequest) -> Explanation | None:
        """Explain the rows of an answered request; None if the fallback that answered has none. Raises Refused."""
        answered_by, outcome = request.answered_by, request.outcome
        bundle = answered_by[0].bundle
        vectors = outcome.vectors.get(bundle.recipe)
        if outcome.fallback is None:
            assert vectors is not None  # they were scored
            return await self._explain(bundle, vectors)
        if vectors is None or bundle.version == 0 or any(variant.bundle is not bundle for variant in answered_by):
            return None
        try:
            return await self._explain(bundle, vectors)
        except Refused:
            return None

    async def by_id(self, table: ModelTable, prediction_id: str) -> Explanation:
        """Explain the answer that a prediction got, by the version that gave it. Raises Refused (404, 410, 503)."""
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(self._thread, self._predictions.find, prediction_id)
        except StoreError as error:
            raise Refused(503, f"the prediction log cannot be read: {error}") from error
        row = next((row for row in rows if row["served"] and row["model"] == table.model), None)
        if row is None:
            raise Refused(404, f"model '{table.model}' has answered no prediction '{prediction_id:.100}'")
        if row["features"] is None:
            raise Refused(404, f"prediction '{prediction_id:.100}' was answered without features")
        bundle = next((bundle for bundle in table.bundles if bundle.version == row["version"]), None)
        if bundle is None:
            raise Refused(410, f"version {row['version']}, which answered, is not loaded any more")
        return await self._explain(bundle, logged_rows(bundle.spec, [row["features"]], [row["typed"]]))

    def close(self) -> None:
        """Let the thread end after what it does now; what waits for it is not done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _explain(self, bundle: LoadedBundle, vectors: np.ndarray[Any, Any]) -> Explanation:
        return await self._in_thread(bundle, lambda: self._compute(bundle, vectors))

    async def _in_thread(self, bundle: LoadedBundle, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, call)
        except ProcessFailed as error:
            raise Refused(503, f"model '{bundle.spec.model}' version {bundle.version}: {error}") from error
        except DataError as error:
            raise Refused(400, f"model '{bundle.spec.model}' version {bundle.version}: {error}") from error

    def _explainer(self, bundle: LoadedBundle) -> Explainer:
        if bundle.by_class:
            raise DataError("the probabilities of several classes are not explained")
        explainer = self._explainers.get(bundle)
        if explainer is None:
            explainer = open_explainer(bundle.folder, bundle.spec, bundle.scorer, trust=self._trust)
            self._remember(bundle, explainer)
        return explainer

    def _compute(self, bundle: LoadedBundle, vectors: np.ndarray[Any, Any]) -> Explanation:
        found = self._explainer(bundle).explain(vectors)
        return Explanation(
            features=bundle.spec.features,
            base=found.base,
            contributions=found.values.tolist(),
            method=found.method,
            unit=found.unit,
        )

    def _remember(self, bundle: LoadedBundle, explainer: Explainer) -> None:
        with self._lock:
            if self._served is not None and bundle not in self._served:
                return  # the table was swapped while the explainer was opened
            while len(self._explainers) >= KEPT:
                del self._explainers[next(iter(self._explainers))]
            self._explainers[bundle] = explainer
