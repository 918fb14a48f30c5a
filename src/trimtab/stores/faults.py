"""What a store's own check finds wrong; shared by the contracts of all kinds of store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is missing from a store or damaged in it.

    aside: files and folders that can be made again, so that a repair may move them aside. again: the command that
    makes them again.
    """

    text: str
    remedy: str
    verdict: Literal["warn", "fail"] = "fail"
    aside: tuple[Path, ...] = ()
    again: str = ""


def check_sqlite(path: Path) -> str | None:
    """Return what SQLite's own quick check says is wrong with a file, or None. A missing file is not wrong."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if found == ("ok",) else str(found[0]).replace("\n", " ")
