"""HTTP serving of a worker: ASGI application, routes, limits, browser checks, TLS."""
