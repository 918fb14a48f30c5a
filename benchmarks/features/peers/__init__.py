"""Peers of the feature benchmarks, in environments of their own."""
