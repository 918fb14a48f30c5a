"""Verbs that serve: the gateway, the console. Each imports only what its process needs."""
