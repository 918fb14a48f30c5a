"""Types of features: what a column of the training frame holds, and what becomes of values that training never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from trimtab.errors import DefinitionError, nearest

FeatureType = Literal["number", "text", "category", "boolean", "integer", "decimal", "date", "timestamp"]
"""number: float32. text: any text. category: text of a known set, or whole numbers that are names. integer: int64.
decimal: exact decimal fractions. date: days. timestamp: microseconds in UTC."""
Input = Literal["matrix", "frame"]
"""What a trainer gets: a float32 matrix, or a pandas DataFrame with the types."""
Unseen = Literal["other", "missing", "refuse"]
"""What becomes of a category that the training rows lack."""

FEATURE_TYPES: tuple[FeatureType, ...] = get_args(FeatureType)
ALLOWED: Mapping[str, tuple[FeatureType, ...]] = {
    "text": ("category", "text"),
    "integer": ("integer", "number", "category"),
    "boolean": ("boolean", "number"),
    "decimal": ("decimal", "number"),
    "number": ("number",),
    "date": ("date",),
    "time": ("timestamp",),
    "computed": ("number", "integer", "boolean"),
}
"""Kind of a source's column, or "computed" for numbers of views and transforms -> types that its feature may have; the
first is its type in a frame."""
ALWAYS = ("text", "date", "time")
"""Kinds with a type of their own in a matrix, too; the others are numbers there unless the model says otherwise."""


def feature_type(name: str, kind: str, declared: FeatureType | None, form: Input, *, where: str) -> FeatureType:
    """Return the type of a feature.

    Args:
        name: the feature.
        kind: of its values, a key of ALLOWED.
        declared: the type that the model's `types` give it; None if they give none.
        form: what the trainer gets.
        where: the model, for the message.

    Raises:
        DefinitionError: values of this kind cannot have the declared type.
    """
    allowed = ALLOWED[kind]
    if declared is None:
        return allowed[0] if form == "frame" or kind in ALWAYS else "number"
    if declared not in allowed:
        raise DefinitionError(
            f"{where}: feature '{name}' is declared as {declared}, but its values are of kind {kind}; expected "
            f"{' or '.join(allowed)}"
        )
    return declared


def check_types(where: str, types: Mapping[str, FeatureType] | None, features: Sequence[str]) -> None:
    """Check the `types` of a model. Raises DefinitionError for a name that is no feature, and for unknown types."""
    given: Any = {} if types is None else types
    if not isinstance(given, Mapping):
        raise DefinitionError(f"{where}: types is {given!r}; expected a mapping, such as {{'comment': 'text'}}")
    for name, kind in given.items():
        if name not in features:
            raise DefinitionError(
                f"{where}: types names '{name}', which is none of its features.{nearest(str(name), features)}"
            )
        if kind not in FEATURE_TYPES:
            raise DefinitionError(
                f"{where}: feature '{name}' has the unknown type {kind!r}.{nearest(str(kind), FEATURE_TYPES)}"
            )


def check_choice(where: str, value: object, choices: Sequence[str]) -> None:
    """Raise DefinitionError when a value is none of the choices."""
    if value not in choices:
        raise DefinitionError(
            f"{where} is {value!r}; expected {' or '.join(map(repr, choices))}.{nearest(str(value), choices)}"
        )
