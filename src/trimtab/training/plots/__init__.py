"""Plots of a run: what is drawn, and how."""
