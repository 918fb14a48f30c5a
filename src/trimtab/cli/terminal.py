"""Where verbs print what people read. Apart from options, since rich takes a while to load."""

from pathlib import Path

from rich.console import Console

from trimtab.errors import UsageError

PIPED_WIDTH = 1000
"""Columns when the output is no screen: a file or another program gets each row of a table on one line."""

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=PIPED_WIDTH)


def say(*lines: str) -> None:
    """Print lines as they are: square brackets in names, reasons and errors are no markup."""
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def write_file(option: str, path: Path, text: str) -> None:
    """Write the file that an option names. Raises UsageError when it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from error


def heading(text: str) -> None:
    """Print a heading: across the screen, or as a plain line where there is none."""
    if console.is_terminal:
        console.rule(text)
    else:
        console.print(f"-- {text}")
