"""The command line. One file a group of verbs, loaded when one of its verbs is called."""

from trimtab.cli.entry import main

__all__ = ["main"]
