"""Plays a table of the past as live traffic."""
