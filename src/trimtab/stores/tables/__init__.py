"""The tables store: its contract; backends are opened by name."""
