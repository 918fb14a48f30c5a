"""The gateway of a project or of one folder: its configuration, its guard, its tokens."""
