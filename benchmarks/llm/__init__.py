"""Prompts beside peers: cost of the proxy, streams, budgets, bills, decisions."""
