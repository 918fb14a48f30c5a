"""How well a model does before its labels are known: an estimate from its scores alone.

binary      a calibrated probability p of 1 is wrong with probability p below the threshold, 1 - p from it on; its
            log-loss is the entropy of p in the mean, its Brier loss p (1 - p)
multiclass  likewise, for the probabilities of all classes
regression  the mean squared error in the reference among rows of a like prediction (expectation.py)

An estimate is right as long as the scores are calibrated, and so it cannot see that inputs and outcomes are related in
another way than before: labels that were turned do not change it. Therefore it is shown and tested by nothing. When the
labels are in, `estimated_METRIC_error` says by how much it was wrong.

Source of the idea: Garg et al., Leveraging unlabeled data to predict out-of-distribution performance, ICLR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trimtab.metric_catalog import BY_TASK, PAIR
from trimtab.monitoring.mistakes import Costs, money
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.row_money import RowMoney
from trimtab.records.monitoring import WindowReport
from trimtab.tasks import RULES, SMALLEST

Floats = npt.NDArray[np.float64]

ESTIMATED, ERROR = "estimated_", "_error"
MONEY = "money_lost"


def estimated_metrics(
    score: Floats, reference: Reference, costs: Costs, own: RowMoney | None = None
) -> dict[str, float]:
    """Return what is expected of a window before its labels: estimated_log_loss, _brier, _accuracy, _rmse, _money_lost.

    score: of each row, as `trimtab.tasks` says; NaN is left out. Money is that of all rows; a regression's is not
    estimated. Of anomaly scores nothing is. Raises ImpactFailed.
    """
    rules = RULES[reference.task]
    finite = np.isfinite(rules.main_score(score))
    known = score[finite]
    if not len(known) or rules.output in ("anomaly_score", "nothing"):
        return {}
    if rules.confidence is None:
        return {f"{ESTIMATED}rmse": math.sqrt(max(0.0, float(reference.expectation.expected(known).mean())))}
    paired = reference.classes if any(PAIR in kind for kind in costs) else ()
    made = reference.expectation.mistakes(
        known, threshold=reference.threshold, own=own and own.rows(finite), classes=paired
    )
    p = np.clip(known if rules.by_class else np.column_stack([1 - known, known]), SMALLEST, 1.0)
    found = {
        "log_loss": float(-(p * np.log(p)).sum(axis=1).mean()),
        "brier": float((1 - (p**2).sum(axis=1)).mean() / 2),
        "accuracy": 1.0 - sum(made[kind] for kind in BY_TASK[reference.task].costs),
    }
    if costs:
        found[MONEY] = money(made, costs) * len(score)
    return {f"{ESTIMATED}{name}": value for name, value in found.items()}


def estimate_errors(metrics: Mapping[str, float], *, coverage: float) -> dict[str, float]:
    """Return measured minus estimated value of each estimate of a matured window; coverage: labelled share of rows."""
    found = {}
    for name, value in metrics.items():
        metric = name.removeprefix(ESTIMATED)
        if name.startswith(ESTIMATED) and metric in metrics:
            scale = coverage if metric == MONEY else 1.0
            found[f"{name}{ERROR}"] = metrics[metric] - value * scale
    return found


def past_errors(matured: Sequence[WindowReport]) -> dict[str, dict[str, float]]:
    """Return by metric how wrong past estimates were: windows, mean_error, mean_absolute_error."""
    errors: dict[str, list[float]] = {}
    for report in matured:
        for name, value in report.metrics.items():
            if name.startswith(ESTIMATED) and name.endswith(ERROR):
                errors.setdefault(name.removeprefix(ESTIMATED).removesuffix(ERROR), []).append(value)
    return {
        metric: {
            "windows": float(len(values)),
            "mean_error": math.fsum(values) / len(values),
            "mean_absolute_error": math.fsum(map(abs, values)) / len(values),
        }
        for metric, values in errors.items()
    }
