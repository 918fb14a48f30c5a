"""Features without leakage and without skew: one definition computes training sets, timelines and requests.

Names are imported on first use, so a gateway, which needs only OnlinePlan, starts without Polars.
"""
