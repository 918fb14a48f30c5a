"""The network face of a worker: ASGI, routes, limits, tokens, TLS."""
