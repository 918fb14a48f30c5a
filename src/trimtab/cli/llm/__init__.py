"""Verbs of prompts."""
