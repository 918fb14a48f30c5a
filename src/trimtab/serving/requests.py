"""One neutral request and response: protocols decode to the one and encode the other; the gateway knows only these."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    import numpy as np

MAX_ID = 200
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\"]+/)+")
"""The folders of an absolute path."""
SHORT_ROWS = 1024
"""Rows of a request that are prepared, scored and written at once; longer ones take turns with others."""
MOST_COLUMNS = 10_000
"""Columns that a request may name."""


class Refused(TrimtabError):
    """A request that is not answered; `status` is the HTTP status, the text is meant for the client.

    retry_after: seconds after which the client may try again, for 503. What failed here (500 and above) is told without
    the folders of this machine.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message if status < 500 else without_folders(message))
        self.status = status
        self.retry_after = retry_after


class Absent(NamedTuple):
    """The first row that does not have a column which others have, and the columns that it has."""

    row: int
    keys: Collection[str]


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
    absent: Mapping[str, Absent] | None = None
    """Columns that only some of the rows brought. They hold null in the others, unless the model asks for them."""


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


def without_folders(text: str) -> str:
    """Return an error with names of files in the place of their paths on this machine."""
    return _FOLDERS.sub("", text)


def check_id(text: str) -> str:
    """Return a client's id. Raises Refused when it is empty or too long, or when a terminal could not show it."""
    if not text or len(text) > MAX_ID:
        raise Refused(400, f"id has {len(text)} characters; expected 1 to {MAX_ID}")
    if not text.isprintable() and (found := control(text)) is not None:
        raise Refused(400, f"id holds the control character {found}; expected text that can be shown")
    return text


def control(text: str) -> str | None:
    """Return the first control character of a text, such as U+001B, None without one."""
    return next((f"U+{ord(char):04X}" for char in text if char < " " or "\x7f" <= char < "\xa0"), None)


def shown(value: object, *, most: int = 60) -> str:
    """Return a value for an error as JSON has it: null and true; text in single quotes. most: characters of it."""
    if isinstance(value, str):
        return f"{value!r:.{most}}"
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):  # what no JSON has brought
        text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
