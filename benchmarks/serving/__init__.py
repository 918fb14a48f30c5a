"""The gateway compared with other servers of the same model, under the same load, in one run."""
