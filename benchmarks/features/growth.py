"""Cost against rows: the exponent that fits, and a log-log plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("svg")
from matplotlib import pyplot

Costs = Mapping[str, Mapping[int, float]]
"""Engine -> rows -> CPU seconds."""


def exponents(costs: Costs) -> dict[str, float]:
    """Return by engine the slope of log cost over log rows, where there are two sizes or more."""
    return {
        engine: float(np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)[0])
        for engine, points in costs.items()
        if len(points) > 1
    }


def plot(tasks: Mapping[str, Costs], path: Path) -> None:
    """Write a plot of all tasks as SVG."""
    matplotlib.rcParams["svg.hashsalt"] = "features"
    figure, axes = pyplot.subplots(1, len(tasks), figsize=(5 * len(tasks), 4), squeeze=False)
    for axis, (task, costs) in zip(axes[0], tasks.items(), strict=True):
        slopes = exponents(costs)
        for engine, points in costs.items():
            label = f"{engine}  ~ n^{slopes[engine]:.2f}" if engine in slopes else engine
            axis.loglog(list(points), list(points.values()), marker="o", linewidth=1, markersize=3, label=label)
        axis.set(title=task, xlabel="events", ylabel="CPU seconds")
        axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
