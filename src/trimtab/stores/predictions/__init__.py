"""The prediction log: its contract. Backends are opened by name in stores.catalog."""
