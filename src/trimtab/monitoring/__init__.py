"""Monitoring: reads the prediction log and its labels, writes what happened, window by window of event time.

log -> windows -> profiles, signals (inputs, scores, operations) -> labels -> signals (harm, money), comparison
"""

from trimtab.monitoring.comparison import Comparison, compare
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference

__all__ = ["Comparison", "Monitor", "Reference", "build_reference", "compare"]
