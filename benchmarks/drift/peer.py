"""The peer, the usual method: tests each column of a window against all reference rows, Bonferroni over columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2_contingency, ks_2samp

from benchmarks.drift.streams import Window

ALARM_BELOW = 0.05


class RowTests:
    """Two-sample Kolmogorov-Smirnov for numbers, chi-square for categories; alarm at p < 0.05 after Bonferroni."""

    def __init__(self, reference: Sequence[Window]) -> None:
        self._numbers, self._counts = {}, {}
        for name, values in reference[0].items():
            together = np.concatenate([window[name] for window in reference])
            if values.dtype.kind == "f":
                self._numbers[name] = together[~np.isnan(together)]
            else:
                self._counts[name] = Counter(together.tolist())

    def p(self, window: Window) -> float:
        """Return the Bonferroni p of a window: the smallest p times the number of columns."""
        found = [self._ks(name, window) for name in self._numbers] + [self._chi2(name, window) for name in self._counts]
        return min(1.0, len(found) * min(found))

    def _ks(self, name: str, window: Window) -> float:
        values = window[name][~np.isnan(window[name])]
        return float(ks_2samp(self._numbers[name], values, method="asymp").pvalue) if values.size else 1.0

    def _chi2(self, name: str, window: Window) -> float:
        now, before = Counter(window[name].tolist()), self._counts[name]
        names = sorted(before.keys() | now.keys(), key=str)
        table = np.array([[before[key] for key in names], [now[key] for key in names]])
        return float(chi2_contingency(table).pvalue)
