"""Profiles, scores, honest p-values, intervals and metrics. Pure: numbers in, numbers out; every wing may use it."""

from trimtab.stats.comparison import Comparison, compare, window_means
from trimtab.stats.concept import UpwardDetector, UpwardStep, excess_brier
from trimtab.stats.intervals import Interval, bootstrap_interval, paired_bootstrap_difference, wilson_interval
from trimtab.stats.loss_expectation import LossExpectation
from trimtab.stats.metrics import METRICS, Metric, metric_value
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
    "LossExpectation",
    "Metric",
    "NumericBins",
    "UpwardDetector",
    "UpwardStep",
    "WindowProfile",
    "bins_from_dict",
    "bootstrap_interval",
    "compare",
    "excess_brier",
    "holm",
    "merge",
    "merge_windows",
    "metric_value",
    "paired_bootstrap_difference",
    "profile",
    "profile_categories",
    "profile_matrix",
    "tail_p",
    "wilson_interval",
    "window_means",
]
