"""A project's own function for what the rows of a model cost, in place of `impact.cost`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.definitions.arguments import check_columns, check_name, check_plain, source_of
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed


@dataclass(frozen=True)
class ImpactFunction(Placed):
    """Money lost on each row: takes labels, scores and features, arrays (rows,), and returns one such array."""

    name: str
    inputs: tuple[str, ...]
    function: Callable[..., Any]
    source: str
    classes: tuple[str, ...] = ()
    """Those that a multiclass model declares: labels are their indices."""

    @property
    def called(self) -> str:
        """Its name in messages, such as: impact 'lost'."""
        return f"impact '{self.name}'"

    @property
    def kind(self) -> str:
        """Its key among the kinds of mistakes that are counted: another text of the function is another kind."""
        text = json.dumps([self.name, self.inputs, self.source])
        return f"impact:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def impact_function(
    model: str,
    function: Callable[..., Any],
    inputs: Sequence[str],
    *,
    features: Sequence[str],
    classes: Sequence[str] | None = (),
) -> ImpactFunction:
    """Return the impact function of a model. Raises DefinitionError for unknown inputs and other arguments.

    classes: those that the model declares; None for a multiclass model that declares none, which is refused: its labels
    would be indices of other classes once a training set has one more.
    """
    check_name("impact", function.__name__)
    where = f"impact '{function.__name__}' of model '{model}'"
    if classes is None:
        raise DefinitionError(
            f"{where}: its labels are indices of classes, and the model declares none; declare them in their order: "
            "Model(..., classes=[...])"
        )
    for name in check_columns(f"{where}: inputs", inputs):
        if name not in features:
            raise DefinitionError(f"{where}: input '{name}' is none of the model's features.{nearest(name, features)}")
    check_plain(where, function, ["y_true", "y_score", *inputs])
    return ImpactFunction(function.__name__, tuple(inputs), function, source_of(function), tuple(classes))
