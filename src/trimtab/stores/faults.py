"""Faults that the checks of stores report."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Missing or damaged data of a store.

    aside: files and folders that can be made again; a repair moves them away. again: the command that makes them
    again.
    """

    text: str
    remedy: str
    verdict: Literal["warn", "fail"] = "fail"
    aside: tuple[Path, ...] = ()
    again: str = ""


def check_sqlite(path: Path) -> str | None:
    """Return the first finding of SQLite's quick check of a file, or None; None for a missing file, too."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if found == ("ok",) else str(found[0]).replace("\n", " ")
