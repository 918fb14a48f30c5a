"""Trimtab: MLOps that steers itself. The public names, each loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab.errors import nearest

if TYPE_CHECKING:
    from trimtab.definitions import (
        Dataset,
        Entity,
        FeatureView,
        FileSource,
        Model,
        Outcomes,
        count,
        last,
        mean,
        on_demand,
    )
    from trimtab.definitions import max_ as max
    from trimtab.definitions import min_ as min
    from trimtab.definitions import sum_ as sum
    from trimtab.errors import TrimtabError
    from trimtab.features import point_in_time_join

__version__ = "0.1.0"

_HOMES = {
    "Dataset": ("trimtab.definitions", "Dataset"),
    "Entity": ("trimtab.definitions", "Entity"),
    "FeatureView": ("trimtab.definitions", "FeatureView"),
    "FileSource": ("trimtab.definitions", "FileSource"),
    "Model": ("trimtab.definitions", "Model"),
    "Outcomes": ("trimtab.definitions", "Outcomes"),
    "TrimtabError": ("trimtab.errors", "TrimtabError"),
    "count": ("trimtab.definitions", "count"),
    "last": ("trimtab.definitions", "last"),
    "max": ("trimtab.definitions", "max_"),
    "mean": ("trimtab.definitions", "mean"),
    "min": ("trimtab.definitions", "min_"),
    "on_demand": ("trimtab.definitions", "on_demand"),
    "point_in_time_join": ("trimtab.features", "point_in_time_join"),
    "sum": ("trimtab.definitions", "sum_"),
}

__all__ = [
    "Dataset",
    "Entity",
    "FeatureView",
    "FileSource",
    "Model",
    "Outcomes",
    "TrimtabError",
    "count",
    "last",
    "max",
    "mean",
    "min",
    "on_demand",
    "point_in_time_join",
    "sum",
]


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'trimtab' has no attribute '{name}'.{nearest(name, __all__)}") from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
