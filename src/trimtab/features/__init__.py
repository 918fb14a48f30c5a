"""Features without leakage and without skew: one definition computes training sets, timelines and requests.

Names are imported on first use, so a gateway, which needs only OnlinePlan, starts without Polars.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.features.corrections import current, replaced
    from trimtab.features.diagnosis import diagnose
    from trimtab.features.kinds import Kind
    from trimtab.features.materialization import any_known, last_known, materialize
    from trimtab.features.online_plan import OnlinePlan
    from trimtab.features.point_in_time import point_in_time_join, view_values
    from trimtab.features.training_frames import request_types, training_frame
    from trimtab.features.view_versions import view_of, view_version

_HOMES = {
    "Kind": "kinds",
    "OnlinePlan": "online_plan",
    "any_known": "materialization",
    "current": "corrections",
    "diagnose": "diagnosis",
    "last_known": "materialization",
    "materialize": "materialization",
    "point_in_time_join": "point_in_time",
    "replaced": "corrections",
    "request_types": "training_frames",
    "training_frame": "training_frames",
    "view_of": "view_versions",
    "view_values": "point_in_time",
    "view_version": "view_versions",
}

__all__ = [
    "Kind",
    "OnlinePlan",
    "any_known",
    "current",
    "diagnose",
    "last_known",
    "materialize",
    "point_in_time_join",
    "replaced",
    "request_types",
    "training_frame",
    "view_of",
    "view_values",
    "view_version",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
