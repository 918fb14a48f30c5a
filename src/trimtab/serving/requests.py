"""One neutral request and response: protocols decode to the one and encode the other; the gateway knows only these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from trimtab.errors import TrimtabError

MAX_ID = 200
_NUMBERS = {float, int, bool, type(None)}


class Refused(TrimtabError):
    """A request that is not answered; `status` is the HTTP status, the text is meant for the client.

    retry_after: seconds after which the client may try again, for 503.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class InferenceRequest(msgspec.Struct):
    """Rows to score: request columns by name, or the features themselves, or both."""

    rows: int
    columns: Mapping[str, Sequence[Any]]
    """One value a row; None is a missing value."""
    features: np.ndarray[Any, Any] | None = None
    """float32 (rows, features) in the order of the bundle's feature list; the columns then only route and describe."""
    request_id: str | None = None
    """The client's; None asks for a new one."""
    explain: bool = False
    """Whether each feature's contribution to the score is asked for."""
    coverage: float | None = None
    """Share of true values that an interval should hold, such as 0.9; None asks for no interval."""


class Explanation(msgspec.Struct):
    """What each feature added to the scores. base + the sum of a row's contributions is its output."""

    features: tuple[str, ...]
    base: float
    contributions: list[list[float]]
    """One list a row, in the order of `features`."""
    method: str
    """Such as "tree_shap" or "permutation"."""
    unit: Literal["log_odds", "probability", "value"]
    """Of base and contributions."""


class InferenceResponse(msgspec.Struct):
    """What the rows were scored to, in their order."""

    model: str
    version: int
    """Of the champion when rows were answered by several versions."""
    role: str
    """"mixed" when rows were answered by several roles."""
    revision: int
    request_id: str
    prediction_ids: list[str]
    task: Literal["binary", "regression"]
    scores: list[float]
    labels: list[int]
    """The decision by each version's own threshold; empty for a regression."""
    versions: list[int] | None = None
    """Of each row, when they differ."""
    confidences: list[float] | None = None
    """Probability of the decision; None for a regression."""
    lower: list[float] | None = None
    upper: list[float] | None = None
    """Bounds of the conformal interval of each row, when asked for."""
    explanation: Explanation | None = None
    fallback: str | None = None
    """Why another than the routed version answered, None when none did."""


class ModelState(msgspec.Struct):
    """One version of one model in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "LOADING"]
    reason: str = ""


def check_id(text: str) -> str:
    """Return a client's id. Raises Refused when it is empty or too long."""
    if not text or len(text) > MAX_ID:
        raise Refused(400, f"id has {len(text)} characters; expected 1 to {MAX_ID}")
    return text


def matrix(data: Sequence[Any], rows: int | None = None) -> np.ndarray[Any, Any]:
    """Return numbers as float32 (rows, features); None is a missing value. Raises Refused.

    data: a list of rows, or flat in order of rows when `rows` is given.
    """
    lists = data if data and type(data[0]) is list else [data]
    kinds: set[type] = set()
    for row in lists:
        if type(row) is not list:
            raise Refused(400, f"a row of features is a list; found {row!r:.80}")
        kinds.update(map(type, row))
    if not kinds <= _NUMBERS:
        names = sorted(kind.__name__ for kind in kinds - _NUMBERS)
        raise Refused(400, f"features must be numbers or null; found {', '.join(names)}")
    try:
        array = np.array(data, dtype=np.float32)  # beyond float32 is infinite, as it was in training
        if array.ndim == 1 and rows:
            array = array.reshape(rows, -1)
    except (ValueError, OverflowError) as error:
        raise Refused(400, f"features are not a table of numbers: {error}") from None
    if array.ndim != 2 or rows not in (None, len(array)):
        raise Refused(400, f"features have shape {list(array.shape)}; expected {[rows or 'rows', 'features']}")
    return array
