"""The gateway beside hand-written servers of the same model, under the same load, in one run."""
