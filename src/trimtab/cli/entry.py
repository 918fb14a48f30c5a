"""The entry point of the console script: sets what Ctrl-C does before anything heavy is imported."""

from __future__ import annotations

from importlib import import_module

from trimtab.cli.interrupting import end_quietly


def main() -> int:
    """Run the command line and return the exit code."""
    end_quietly()
    try:
        code: int = import_module("trimtab.cli.calling").call()
    finally:
        end_quietly()  # nothing is left to put in order
    return code
