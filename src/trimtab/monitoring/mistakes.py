"""Mistakes and their price.

A binary model says yes from its threshold on; a missed yes is a false negative, a wrong yes a false positive. The same
holds for anomalies. A multiclass model names a wrong class; each pair of the true and another predicted class is a kind
of its own. A regression's mistake is its error: as a whole, and by its direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, nearest
from trimtab.metric_catalog import PAIR, Task, class_pair
from trimtab.monitoring.row_money import RowMoney
from trimtab.tasks import RULES

Floats = npt.NDArray[np.float64]

Costs = Mapping[str, float]
"""Money a mistake, by kind; of a regression, per unit of error. A kind is a Mistake or that of an ImpactFunction."""
Made = Mapping[str, float]
"""Mistakes a prediction, by kind."""
MOST_PAIRED = 30
"""Pairs of classes are counted of models with so many classes at most."""


def mistakes(
    y: npt.ArrayLike, score: npt.ArrayLike, *, task: Task, threshold: float | Floats, own: RowMoney | None = None
) -> dict[str, Floats]:
    """Return each kind of mistake that has a price, a row, shape (rows,): 0 or 1, or the size of the error.

    y: labels; score: as `trimtab.tasks` says. Neither has NaN. threshold: of all rows, or of each, (rows,). own: adds
    the money of the project's function as one more kind, NaN in rows of unknown classes. Raises ImpactFailed.
    """
    truth, said = np.asarray(y, np.float64), np.asarray(score, np.float64)
    made: dict[str, Floats] = dict(RULES[task].mistakes(truth, said, threshold).items())
    if own is not None:
        made[own.function.kind] = own.lost(truth, said)
    return made


def mean_mistakes(
    y: Floats,
    score: Floats,
    *,
    task: Task,
    threshold: float | Floats,
    own: RowMoney | None = None,
    classes: Sequence[str] = (),
) -> dict[str, float]:
    """Return the mean of each kind of mistake over rows (at least one). Raises ImpactFailed.

    classes: of a multiclass model, whose pairs are counted, too; pairs without a row are left out.
    """
    made = mistakes(y, score, task=task, threshold=threshold, own=own)
    pairs = paired_classes(y, RULES[task].decide(score, threshold), classes) if RULES[task].by_class else {}
    return {kind: float(np.nanmean(each)) for kind, each in made.items()} | pairs


def paired_classes(y: Floats, predicted: Floats, classes: Sequence[str]) -> dict[str, float]:
    """Return the share of rows of each pair of a true class and another, predicted one; none with many classes.

    y, predicted: indices of classes, (rows,). A true class that the model does not know is in no pair.
    """
    if not 0 < len(classes) <= MOST_PAIRED:
        return {}
    wrong = (y != predicted) & (y >= 0)
    places, counts = np.unique(y[wrong] * len(classes) + predicted[wrong], return_counts=True)
    of_pairs = zip(places.astype(np.int64).tolist(), counts.tolist(), strict=True)
    return {class_pair(classes[at // len(classes)], classes[at % len(classes)]): n / len(y) for at, n in of_pairs}


def expected_pairs(score: Floats, classes: Sequence[str]) -> dict[str, float]:
    """Return the share of rows of each pair that a calibrated model expects. score: (rows, classes)."""
    predicted = score.argmax(axis=1)
    found = {}
    for place, name in enumerate(classes) if len(classes) <= MOST_PAIRED else ():
        for true, share in enumerate((score[predicted == place].sum(axis=0) / len(score)).tolist()):
            if true != place and share:
                found[class_pair(classes[true], name)] = share
    return found


def check_pairs(costs: Costs, classes: Sequence[str]) -> None:
    """Raise DataError if `impact.cost.matrix` names a class that a model does not have, or the model has too many."""
    for kind in costs:
        if PAIR in kind and kind not in (class_pair(true, other) for true in classes for other in classes):
            name = next((part for part in kind.split(PAIR) if part not in classes), kind)
            raise DataError(f"impact.cost.matrix names the class '{name}', which is none.{nearest(name, classes)}")
        if PAIR in kind and len(classes) > MOST_PAIRED:
            raise DataError(f"impact.cost.matrix is for up to {MOST_PAIRED} classes; the model has {len(classes)}")


def is_counted(kind: str, made: Made) -> bool:
    """Return True if mistakes tell how often a kind was made; pairs of classes that were not made are left out."""
    return kind in made or (
        PAIR in kind and (made.get("misclassification", 1.0) == 0.0 or any(PAIR in each for each in made))
    )


def row_costs(made: Mapping[str, Floats], costs: Costs) -> Floats:
    """Return the money lost on each row, shape (rows,), by what `mistakes` returned."""
    found: Floats = np.sum([each * costs.get(kind, 0.0) for kind, each in made.items()], axis=0)
    return found


def pair_costs(y: Floats, predicted: npt.NDArray[np.int64], classes: Sequence[str], costs: Costs) -> Floats:
    """Return the money that `costs` adds on each row for its pair of true and predicted class, shape (rows,)."""
    table = np.zeros((len(classes) + 1, len(classes)))
    for true, name in enumerate(classes):
        for other, said in enumerate(classes):
            table[true, other] = costs.get(class_pair(name, said), 0.0)
    found: Floats = table[y.astype(np.int64), predicted]  # the last row is that of a class that is not known
    return found


def money(made: Made, costs: Costs) -> float:
    """Return what mistakes cost; a kind without a price costs nothing."""
    return sum(value * costs.get(kind, 0.0) for kind, value in made.items())
