"""Benchmarks of prompts: what the gateway costs, beside peers in the same run."""
