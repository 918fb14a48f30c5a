"""On-demand transforms of request columns, and fallback rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.definitions.arguments import (
    check_columns,
    check_function,
    check_name,
    source_of,
)
from trimtab.places import Placed

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class OnDemand(Placed):
    """A transform of request columns (and view features). Training and serving run the same function.

    Takes one numpy array per input, returns one array (a single output) or a mapping from output name to
    array. Arrays are float64, datetime64[us] (timestamps) or object (text); shape (rows,).
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: Callable[..., Any]
    source: str

    @property
    def called(self) -> str:
        """Its name in messages, such as: on_demand 'hour'."""
        return f"on_demand '{self.name}'"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names: `name` for a single unnamed output, else `name__output`."""
        if self.outputs == (self.name,):
            return (self.name,)
        return tuple(f"{self.name}__{output}" for output in self.outputs)

    def __call__(self, *arrays: np.ndarray[Any, Any]) -> Any:
        """Call the function itself."""
        return self.function(*arrays)


def on_demand(*, inputs: Sequence[str], outputs: Sequence[str] = ()) -> Callable[[Callable[..., Any]], OnDemand]:
    """Return a decorator that makes a feature transform of a function of request columns.

    The function takes one NumPy array for each input, shape (rows,): float64, datetime64[us] (timestamps) or object
    (text). It returns one array of shape (rows,), or a mapping from output name to array.

    Args:
        inputs: request columns, or features of views, which are passed to the function in this order.
        outputs: names of the mapping's entries; empty when the function returns one array.

    Returns:
        The decorator, which returns an OnDemand.

    Raises:
        DefinitionError: raised by the decorator when the function's arguments do not fit the inputs.

    >>> import numpy as np, trimtab as tt
    >>> @tt.on_demand(inputs=["distance", "minutes"])
    ... def speed(distance, minutes):
    ...     return distance / minutes
    >>> speed.feature_names, speed(np.array([120.0]), np.array([60.0])).tolist()
    (('speed',), [2.0])
    """

    def declare(function: Callable[..., Any]) -> OnDemand:
        name = function.__name__
        check_name("on_demand", name)
        check_function(f"on_demand '{name}'", function, inputs)
        check_columns(f"on_demand '{name}': outputs", outputs)
        made = tuple(outputs) or (name,)
        return OnDemand(name, tuple(inputs), made, function, source_of(function))

    return declare


@dataclass(frozen=True)
class FallbackRule(OnDemand):
    """The rule that scores when no version of the model can: it takes request columns and returns one score a row.

    A score is a probability for a binary model, any number for a regression. Arrays are those that OnDemand takes.
    """

    @property
    def called(self) -> str:
        """Its name in messages, such as: fallback 'usual'."""
        return f"fallback '{self.name}'"
