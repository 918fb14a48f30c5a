"""The artifacts store: its contract; backends are opened by name."""
