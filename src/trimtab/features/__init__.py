"""Features without leakage and without skew: one definition computes training sets, timelines and requests.

`online_plan` and what it imports need no Polars, so a gateway starts without it.
"""
