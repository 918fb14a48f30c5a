"""Planted faults, and which gate says what of them."""
