"""Benchmarks of the loop: what killing it costs, and what it takes as its records grow."""
