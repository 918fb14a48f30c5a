"""Profiles, scores, honest p-values, intervals and metrics. Pure: numbers in, numbers out; every wing may use it."""
