"""Features without leakage and without skew: one definition computes training sets, timelines and requests."""

from trimtab.features.materialize import materialize
from trimtab.features.point_in_time import point_in_time_join, view_values

__all__ = ["materialize", "point_in_time_join", "view_values"]
