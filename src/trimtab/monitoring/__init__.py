"""Monitoring: reads the prediction log and its labels, writes what happened, window by window of event time.

log -> windows -> profiles, signals (inputs, scores, operations) -> labels -> signals (harm, money), comparison
"""
