"""Checks the columns of requests against the checks of the bundles.

In mode "refuse" rows are checked before they are scored. In mode "warn" they are checked after the answer, those of
several requests in one call, so that they share its fixed costs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import Variant
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.requests import Refused, shown

Mode = Literal["warn", "refuse", "off"]
GATHER_S = 0.05
"""Seconds that rows wait for others to be checked with."""
AT_ONCE = 1024
"""Rows of one call; between two of them others have the event loop."""
MOST_WAITING_ROWS = 200_000
"""When so many rows wait, further ones are not checked: memory stays bounded."""
TOLD_EVERY_S = 60.0
"""Seconds between two warnings about one column of a model."""

logger = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[Any]]


class Expectations:
    """Checks the rows of one worker. Lives on one event loop."""

    def __init__(self, mode: Mode, metrics: Metrics) -> None:
        self._mode = mode
        self._metrics = metrics
        self._waiting: deque[tuple[LoadedBundle, Columns, int]] = deque()
        self._rows = 0
        self._armed = False
        self._told: dict[tuple[str, str], float] = {}

    def refuse(self, variants: Sequence[Variant], columns: Columns, first_row: int = 0) -> None:
        """In mode "refuse": raise Refused (400) for the first row with a value that its bundle does not expect.

        first_row: place of the first of these rows in the request, of a part of a long one.
        """
        if self._mode != "refuse" or not columns:
            return
        for variant in dict.fromkeys(variants):
            bundle = variant.bundle
            if not bundle.expects:
                continue
            own = np.array([each is variant for each in variants])
            failing = {name: found & own for name, found in bundle.expects.failing(columns).items()}
            failing = {name: found for name, found in failing.items() if found.any()}
            self._count(bundle, int(own.sum()), failing, columns)
            if failing:
                row, name = min((int(np.argmax(found)), name) for name, found in failing.items())
                value, expected = shown(columns[name][row]), bundle.expects.expected(name)
                model = bundle.spec.model
                raise Refused(
                    400, f"column '{name}', row {first_row + row}: {value}; model '{model}' expects {expected}"
                )

    def note(self, bundle: LoadedBundle, columns: Columns, rows: int) -> None:
        """In mode "warn": check the rows of an answered request, later."""
        if self._mode != "warn" or not bundle.expects or not columns or self._rows + rows > MOST_WAITING_ROWS:
            return
        self._waiting.append((bundle, columns, rows))
        self._rows += rows
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_later(GATHER_S, self._check)

    def flush(self) -> None:
        """Check everything that waits, now."""
        while self._waiting:
            self._check_some()

    def _check(self) -> None:
        self._armed = False
        if self._waiting:  # else `flush` was quicker
            self._check_some()
        if self._waiting:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._check)

    def _check_some(self) -> None:
        """Check about AT_ONCE rows, of one bundle and with the same columns."""
        bundle, first, _ = self._waiting[0]
        together: dict[str, list[Any]] = {name: [] for name in first}
        taken = 0
        while self._waiting:
            other, columns, rows = self._waiting[0]
            if other is not bundle or columns.keys() != together.keys() or (taken and taken + rows > AT_ONCE):
                break
            self._waiting.popleft()
            for name, values in columns.items():
                together[name] += values
            taken += rows
        self._rows -= taken
        self._count(bundle, taken, bundle.expects.failing(together), together)

    def _count(
        self, bundle: LoadedBundle, rows: int, failing: Mapping[str, np.ndarray[Any, Any]], columns: Columns
    ) -> None:
        model = bundle.spec.model
        outside = {name: int(found.sum()) for name, found in failing.items()}
        if failing:
            outside[""] = int(np.any(list(failing.values()), axis=0).sum())
        self._metrics.check(model, rows, outside)
        now = time.monotonic()
        for name, found in failing.items():
            if now - self._told.get((model, name), -TOLD_EVERY_S) < TOLD_EVERY_S:
                continue
            self._told[model, name] = now
            example = shown(columns[name][int(np.argmax(found))])
            logger.warning(
                "model %s: column '%s' of %d of %d rows is not as expected (%s): %s, for example",
                model,
                name,
                outside[name],
                rows,
                bundle.expects.expected(name),
                example,
            )
