"""The prediction log: its contract, and one backend a folder. stores.catalog opens backends by name."""
