"""The neutral request and response of the gateway: protocols decode to the one and encode the other."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from trimtab.errors import TrimtabError
from trimtab.metric_catalog import Task

if TYPE_CHECKING:
    import numpy as np

MAX_ID = 200
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"]+/)+")
"""The folders of an absolute path."""
SHORT_ROWS = 1024
"""Largest request whose rows are prepared, scored and encoded in one step; longer ones yield to others in between."""
MOST_COLUMNS = 10_000
"""Columns that a request may name."""


class Refused(TrimtabError):
    """A request that the gateway refuses, with the HTTP status and a text for the client.

    retry_after: seconds after which the client may try again, for 503. From status 500 on, the text loses the folders
    of this machine.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message if status < 500 else without_folders(message))
        self.status = status
        self.retry_after = retry_after


class Absent(NamedTuple):
    """The first row without a column that other rows have, and the columns of that row."""

    row: int
    keys: Collection[str]


class InferenceRequest(msgspec.Struct):
    """Rows to score: request columns by name, or the features themselves, or both."""

    rows: int
    columns: Mapping[str, Sequence[Any]]
    """One value a row; None is a missing value."""
    features: np.ndarray[Any, Any] | None = None
    """float32 (rows, features) in the order of the bundle's features; columns are then for routing and the log."""
    request_id: str | None = None
    """The client's id; None: the gateway makes one."""
    explain: bool = False
    """Whether to return each feature's contribution to the score."""
    coverage: float | None = None
    """Share of true values that an interval should cover, such as 0.9; None: no interval."""
    absent: Mapping[str, Absent] | None = None
    """Columns that only some rows have. The other rows hold null, or are refused when the model requires the column."""


class Explanation(msgspec.Struct):
    """What each feature added to the scores: base plus the sum of a row's contributions is its output."""

    features: tuple[str, ...]
    base: float
    contributions: list[list[float]]
    """One list a row, in the order of `features`."""
    method: str
    """Such as "tree_shap" or "permutation"."""
    unit: Literal["log_odds", "probability", "value"]
    """Unit of base and contributions."""


class InferenceResponse(msgspec.Struct):
    """The scores of the rows, in the order of the request."""

    model: str
    version: int
    """The champion's when several versions answered."""
    role: str
    """"mixed" when rows were answered by several roles."""
    revision: int
    request_id: str
    prediction_ids: list[str]
    task: Task
    scores: list[float]
    """Of a multiclass model: the probability of each row's predicted class."""
    labels: Sequence[int | str]
    """The decision: by each version's own threshold, or the name of the class; empty for a regression."""
    versions: list[int] | None = None
    """The version of each row, when they differ."""
    confidences: list[float] | None = None
    """Probability of the decision; None where scores are no probabilities."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the columns of `probabilities`; also of a binary model whose labels have
    names."""
    probabilities: list[list[float]] | None = None
    """Of each class, one list a row; None unless the model is multiclass."""
    lower: list[float] | None = None
    upper: list[float] | None = None
    """Bounds of the conformal interval of each row; None when the request set no coverage."""
    explanation: Explanation | None = None
    fallback: str | None = None
    """Why a fallback answered; None when the routed version did."""


class ModelState(msgspec.Struct):
    """One version of one model in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "LOADING"]
    reason: str = ""


def without_folders(text: str) -> str:
    """Return an error text with each absolute path shortened to its file name."""
    return _FOLDERS.sub("", text)


def check_id(text: str) -> str:
    """Return a client's id. Raises Refused (400) when it is empty, longer than MAX_ID, or has control characters."""
    if not text or len(text) > MAX_ID:
        raise Refused(400, f"id has {len(text)} characters; expected 1 to {MAX_ID}")
    if not text.isprintable() and (found := control(text)) is not None:
        raise Refused(400, f"id holds the control character {found}; expected text that can be shown")
    return text


def control(text: str) -> str | None:
    """Return the first control character of a text, such as U+001B, None without one."""
    return next((f"U+{ord(char):04X}" for char in text if char < " " or "\x7f" <= char < "\xa0"), None)


def shown(value: object, *, most: int = 60) -> str:
    """Return a value as JSON for an error text, but text in single quotes; cut to `most` characters."""
    if isinstance(value, str):
        return f"{value!r:.{most}}"
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):  # a value that JSON cannot hold
        text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
