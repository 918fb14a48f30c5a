"""The runtimes that load models: one file each, opened by name through opening.py. Each imports its own library."""
