"""The project's own gates: functions that judge a run, beside the gates of the policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from trimtab.definitions.arguments import check_columns, check_kind, check_name, check_plain, source_of
from trimtab.definitions.models import Model
from trimtab.places import Placed

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class GateData:
    """What a gate of the project gets: the labelled rows of the holdout, in order of time, and the scores of them.

    Args:
        model: the candidate; `model.score(X)` gives the scores of other rows of features.
        task: "binary", "multiclass", "regression" or "anomaly".
        scores: float64, (rows,); of a multiclass model the probabilities, (rows, classes).
        y: labels, float64 (rows,); of a multiclass model the index of the class.
        X: the rows as `model.score` takes them.
        frame: pandas DataFrame with the features, and the columns that gates keep, one row each.
        timestamps: datetime64[us] in UTC, (rows,).
        threshold: the score from which a row counts as 1.
        classes: names of the classes, where labels have names.
        champion_scores: the scores of the version that serves, like `scores`; None when none serves.
        champion_threshold: the score from which a row counts as 1 for that version; None when none serves.

    >>> import numpy as np, trimtab as tt
    >>> times = np.array(["2026-03-01"], "datetime64[us]")
    >>> one = dict(scores=np.array([0.9]), y=np.array([1.0]), X=np.zeros((1, 2)), frame=None, timestamps=times)
    >>> tt.GateData(model=None, task="binary", threshold=0.5, **one).champion_scores is None
    True
    """

    model: Any
    task: str
    scores: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    X: Any
    frame: Any
    timestamps: np.ndarray[Any, Any]
    threshold: float
    classes: tuple[str, ...] = ()
    champion_scores: np.ndarray[Any, Any] | None = None
    champion_threshold: float | None = None


class Judgement(NamedTuple):
    """What a gate of the project says of a run.

    Args:
        passed: False refuses the run, or warns where the policy says so.
        value: what was measured.
        limit: what it may be.
        message: the reason, in words.

    >>> import trimtab as tt
    >>> tt.Judgement(False, value=-3.0, limit=0.0, message="the lowest price is below 0").passed
    False
    """

    passed: bool
    value: float | None = None
    limit: float | None = None
    message: str = ""


@dataclass(frozen=True)
class OwnGate(Placed):
    """A gate that the project defines."""

    name: str
    function: Callable[[GateData], Judgement | bool]
    model: Model | None = None
    """The model whose runs it judges; None: those of all models."""
    columns: tuple[str, ...] = ()
    """Columns of the examples that are added to `GateData.frame`."""
    source: str = field(default="", compare=False)

    def __call__(self, data: GateData) -> Judgement | bool:
        """Call the function itself."""
        return self.function(data)


@overload
def gate(function: Callable[[GateData], Judgement | bool], /) -> OwnGate: ...


@overload
def gate(
    *, model: Model | None = None, columns: Sequence[str] = ()
) -> Callable[[Callable[[GateData], Judgement | bool]], OwnGate]: ...


def gate(
    function: Callable[[GateData], Judgement | bool] | None = None,
    /,
    *,
    model: Model | None = None,
    columns: Sequence[str] = (),
) -> OwnGate | Callable[[Callable[[GateData], Judgement | bool]], OwnGate]:
    """Make a gate of a function, which judges each run of a model in addition to the gates of the policy.

    The function takes one GateData and returns a Judgement, or True for a run that passes. An error in it is a failure.
    `gates.custom` of the policy says which gates warn only, and which do not run.

    Args:
        function: takes one GateData.
        model: the model whose runs are judged; None: those of all models.
        columns: columns of the examples that the gate needs in `data.frame`, in addition to the features.

    Returns:
        The gate, or with arguments a decorator that makes one.

    Raises:
        DefinitionError: the function takes other arguments, or an argument has a wrong type.

    >>> import trimtab as tt
    >>> @tt.gate
    ... def no_negative_prices(data):
    ...     lowest = float(data.scores.min())
    ...     return tt.Judgement(lowest >= 0, value=lowest, limit=0.0, message="the lowest predicted price")
    >>> no_negative_prices.name
    'no_negative_prices'
    """

    def declare(function: Callable[[GateData], Judgement | bool]) -> OwnGate:
        check_name("gate", function.__name__)
        where = f"gate '{function.__name__}'"
        check_plain(where, function, ["data"])
        if model is not None:
            check_kind(f"{where}: model", model, Model)
        kept = check_columns(f"{where}: columns", columns)
        return OwnGate(function.__name__, function, model, kept, source_of(function))

    return declare if function is None else declare(function)
