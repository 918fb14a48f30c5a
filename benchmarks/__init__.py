"""Benchmarks: each folder measures Trimtab and a peer in one run and prints ratios."""
