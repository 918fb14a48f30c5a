"""Features without leakage and without skew: one definition computes training sets, timelines and requests."""

from trimtab.features.point_in_time import point_in_time_join, view_values

__all__ = ["point_in_time_join", "view_values"]
