"""Other servers of the same model, each with its own requirements and script."""
