"""Definitions of prompts: endpoints, prompts, sets of examples that judge them, evaluators, judges, retrievers."""
