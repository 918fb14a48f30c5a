"""Where a command begins: Ctrl-C is minded before anything heavy is imported. Called by the console script."""

from __future__ import annotations

from importlib import import_module

from trimtab.cli.interrupting import end_quietly


def main() -> int:
    """Run the command line and return the exit code."""
    end_quietly()
    try:
        code: int = import_module("trimtab.cli.calling").call()
    finally:
        end_quietly()  # what ends now has no order left to keep
    return code
