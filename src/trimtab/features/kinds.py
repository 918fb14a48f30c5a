"""Names for the types that pass between the files of this folder; light, because the gateway loads it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

Array = np.ndarray[Any, Any]

Kind = Literal["number", "text", "integer", "boolean", "time"]
"""What a request brings for a column. A number may also be an integer or a boolean; a time is ISO 8601 text,
microseconds since the epoch, or a datetime; an entity's key column is text, integer or boolean."""

KINDS: tuple[Kind, ...] = get_args(Kind)
