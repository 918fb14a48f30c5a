"""The embedded backend of the prediction log: segment files, and Delta tables of those that have ended."""
