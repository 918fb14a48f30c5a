"""The verb of features and its actions."""
