"""The cost of the embedded prediction log."""
