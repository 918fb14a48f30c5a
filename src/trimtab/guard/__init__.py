"""The guard: live limits of what serves. Counts in, a breach out; pure."""
