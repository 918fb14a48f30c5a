"""Supervisor and workers, what they tell each other, and the guard."""
