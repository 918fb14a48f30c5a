"""Runs that are done: listed, compared, made again."""
