"""The online store: its contract; backends are opened by name."""
