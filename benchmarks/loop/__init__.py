"""Benchmarks of the loop under SIGKILL."""
