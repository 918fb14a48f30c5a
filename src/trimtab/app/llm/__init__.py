"""Prompts of a project: evaluated, registered, compared on live turns, judged and tuned."""
