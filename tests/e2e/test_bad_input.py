"""What users get wrong, and what they are told: file, line, key, what was expected, the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from kit.commands import typed


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("trimtab.yaml", "window: 1d", "window: 1dd", r"trimtab\.yaml:\d+: decide\.window: '1dd' is not a duration"),
        ("trimtab.yaml", "metric: roc_auc", "metric: roc_auk", r"unknown metric 'roc_auk'\. Did you mean 'roc_auc'\?"),
        ("trimtab.yaml", "rollout:", "rolout:", r"unknown key 'rolout'\. Did you mean 'rollout'\?"),
        ("trimtab.yaml", "min: 0.55", "min: 1.7", r"gates\.accuracy: this gate can never pass"),
        ("trimtab.yaml", "- carrier", "- carier", r"'carier' is no request column\. Did you mean 'carrier'\?"),
        ("definitions.py", '"7d"', '"7dd"', r"definitions\.py:\d+: mean: '7dd' is not a duration"),
        ("definitions.py", '"distance"', '"distanse"', r"no column 'distanse'\. Did you mean 'distance'\?"),
        ("definitions.py", "entity=carrier", "entity=carier", r"definitions\.py:\d+: NameError: name 'carier'"),
        ("definitions.py", 'tt.last("temp", ', 'tt.last("tmp", ', r"'tmp'.*Did you mean 'temp'\?"),
    ],
)
def test_a_mistake_is_told_with_its_place(fresh_project: Path, file: str, old: str, new: str, expected: str) -> None:
    path = fresh_project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = typed("run", "-p", fresh_project, "--as-of", "2013-03-01", check=False)
    assert done.returncode == 2, done.stderr
    assert re.search(expected, done.stderr.replace("\n", " ")), done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_batch_with_too_many_bad_rows_is_refused_whole(fresh_project: Path) -> None:
    path = next((fresh_project / "data" / "flights").glob("2013-02.parquet"))
    pl.read_parquet(path).with_columns(distance=-pl.col("distance")).write_parquet(path)
    done = typed("ingest", "-p", fresh_project, check=False)
    assert done.returncode == 1
    assert "2013-02.parquet" in done.stderr
    assert "distance" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_changed_schema_is_refused_with_the_difference(fresh_project: Path) -> None:
    path = next((fresh_project / "data" / "flights").glob("2013-02.parquet"))
    pl.read_parquet(path).rename({"distance": "miles"}).write_parquet(path)
    done = typed("ingest", "-p", fresh_project, check=False)
    assert done.returncode == 1
    assert "distance" in done.stderr
    assert "miles" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("replai",), 2, "Did you mean 'replay'?"),
        (("status", "-p", "nowhere"), 2, "no such file"),
        (("run", "-p", "{project}", "--as-of", "yesterday"), 2, "'yesterday' is no date or time"),
        (("ingest", "flight", "-p", "{project}"), 2, "Did you mean 'flights'?"),
        (("train", "-p", "{project}"), 3, "run: trimtab features"),
        (("rollback", "-p", "{project}"), 1, "nothing serves"),
        (("lineage", "-p", "{project}", "nope"), 1, "no prediction 'nope'"),
        (("init", "flihgts", "--into", "{project}/x"), 2, "Did you mean 'flights'?"),
        (("approve", "delay/decision/9", "-p", "{project}", "--reason", "ok"), 2, "no decision 'delay/decision/9'"),
    ],
)
def test_a_command_that_cannot_run_says_what_to_do(
    fresh_project: Path, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    done = typed(*(a.format(project=fresh_project) for a in arguments), check=False)
    assert expected in done.stderr.replace("\n", " "), done.stderr
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
