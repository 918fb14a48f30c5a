"""What is piped into a file or another program is not cut to the width of a screen."""

from __future__ import annotations

import subprocess
import sys

TABLE = """
from trimtab.cli.terminal import console, heading
from trimtab.cli.views import table
heading("2 of 3  run")
rows = table("Versions", "version", "what became of it")
rows.add_row("1", "abandoned: " + "evidence " * 40)
console.print(rows)
"""


def test_each_row_of_a_piped_table_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "-- 2 of 3  run"
    assert [line.count("evidence") for line in lines if "evidence" in line] == [40]
    assert max(map(len, lines)) < 500
