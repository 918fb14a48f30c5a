"""Where verbs print what people read. Apart from options, since rich takes a while to load."""

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from trimtab.errors import UsageError

PIPED_WIDTH = 1000
"""Columns when the output is no screen: a file or another program gets each row of a table on one line."""


class PipedConsole(Console):
    """Prints without the spaces that fill the lines of a table up to its width."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects as `Console.print` does."""
        with self.capture() as printed:
            super().print(*objects, **options)
        self.file.write(re.sub(r" +$", "", printed.get(), flags=re.MULTILINE))


console = Console(highlight=False)
if not console.is_terminal:
    console = PipedConsole(highlight=False, width=PIPED_WIDTH)


def say(*lines: str) -> None:
    """Print lines as they are: square brackets in names, reasons and errors are no markup."""
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def write_file(option: str, path: Path, text: str, *, make_folder: bool = False) -> None:
    """Write the file that an option names. Raises UsageError when it cannot be written.

    make_folder: make its folder when it is not there, as for the reports of pipelines.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from error


def heading(text: str) -> None:
    """Print a heading: across the screen, or as a plain line where there is none."""
    if console.is_terminal:
        console.rule(text)
    else:
        console.print(f"-- {text}")
