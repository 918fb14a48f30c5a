"""Serving: the gateway that answers, logs and takes labels. A supervisor and its workers; app hands them everything.

Names load on first use: the supervisor and a worker each import their own half.
"""
