"""Images of a project's parts: gateway, loop, training."""
