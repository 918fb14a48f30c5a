"""Trimtab: MLOps that steers itself. Each public name is imported at its first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab.errors import nearest

if TYPE_CHECKING:
    from trimtab.app.drift.drift_monitor import DriftMonitor
    from trimtab.definitions.kpis import Kpi
    from trimtab.definitions.models import Dataset, Model, Outcomes
    from trimtab.definitions.on_demand import on_demand
    from trimtab.definitions.own_gates import GateData, Judgement, gate
    from trimtab.definitions.secrets import secret
    from trimtab.definitions.sources import FileSource
    from trimtab.definitions.views import Entity, FeatureView, count, last, mean
    from trimtab.definitions.views import max_ as max
    from trimtab.definitions.views import min_ as min
    from trimtab.definitions.views import sum_ as sum
    from trimtab.errors import TrimtabError
    from trimtab.features.point_in_time import point_in_time_join

__version__ = "0.1.0"

_HOMES = {
    "Dataset": ("trimtab.definitions.models", "Dataset"),
    "DriftMonitor": ("trimtab.app.drift.drift_monitor", "DriftMonitor"),
    "Entity": ("trimtab.definitions.views", "Entity"),
    "FeatureView": ("trimtab.definitions.views", "FeatureView"),
    "FileSource": ("trimtab.definitions.sources", "FileSource"),
    "GateData": ("trimtab.definitions.own_gates", "GateData"),
    "Judgement": ("trimtab.definitions.own_gates", "Judgement"),
    "Kpi": ("trimtab.definitions.kpis", "Kpi"),
    "Model": ("trimtab.definitions.models", "Model"),
    "Outcomes": ("trimtab.definitions.models", "Outcomes"),
    "TrimtabError": ("trimtab.errors", "TrimtabError"),
    "count": ("trimtab.definitions.views", "count"),
    "gate": ("trimtab.definitions.own_gates", "gate"),
    "last": ("trimtab.definitions.views", "last"),
    "max": ("trimtab.definitions.views", "max_"),
    "mean": ("trimtab.definitions.views", "mean"),
    "min": ("trimtab.definitions.views", "min_"),
    "on_demand": ("trimtab.definitions.on_demand", "on_demand"),
    "point_in_time_join": ("trimtab.features.point_in_time", "point_in_time_join"),
    "secret": ("trimtab.definitions.secrets", "secret"),
    "sum": ("trimtab.definitions.views", "sum_"),
}

__all__ = [
    "Dataset",
    "DriftMonitor",
    "Entity",
    "FeatureView",
    "FileSource",
    "GateData",
    "Judgement",
    "Kpi",
    "Model",
    "Outcomes",
    "TrimtabError",
    "count",
    "gate",
    "last",
    "max",
    "mean",
    "min",
    "on_demand",
    "point_in_time_join",
    "secret",
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
