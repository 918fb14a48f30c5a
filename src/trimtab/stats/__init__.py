"""Profiles, scores, honest p-values, intervals and metrics. Pure: numbers in, numbers out; every wing may use it."""

from trimtab.stats.comparison import Comparison, compare, window_means
from trimtab.stats.concept import UpwardDetector, UpwardStep
from trimtab.stats.intervals import Interval, cluster_interval, difference_interval, wilson
from trimtab.stats.metrics import METRICS, Metric, metric_value, no_skill, row_loss
from trimtab.stats.profile import (
    ColumnProfile,
    WindowProfile,
    merge,
    merge_windows,
    profile,
    profile_categories,
    profile_matrix,
)
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins, bins_from_dict
from trimtab.stats.sequential import DriftDetector
from trimtab.stats.step import ColumnDrift, DriftStep
from trimtab.stats.tail import holm, tail_p

__all__ = [
    "METRICS",
    "Bins",
    "CategoryBins",
    "ColumnDrift",
    "ColumnProfile",
    "Comparison",
    "DriftDetector",
    "DriftStep",
    "Interval",
    "Metric",
    "NumericBins",
    "UpwardDetector",
    "UpwardStep",
    "WindowProfile",
    "bins_from_dict",
    "cluster_interval",
    "compare",
    "difference_interval",
    "holm",
    "merge",
    "merge_windows",
    "metric_value",
    "no_skill",
    "profile",
    "profile_categories",
    "profile_matrix",
    "row_loss",
    "tail_p",
    "wilson",
    "window_means",
]
