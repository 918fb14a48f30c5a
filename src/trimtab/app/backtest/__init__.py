"""Replays stored history through monitor, controller, gates and comparison, for several policies side by side."""
