"""The verb drift as it is typed: exit codes, text, JSON and the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from trimtab.cli import calling, drift


def write(path: Path, seed: int, *, shift: float = 0.0, name: str = "x") -> str:
    random = np.random.default_rng(seed)
    frame = pl.DataFrame({name: random.normal(shift, 1, 1_200), "plan": random.choice(["<a>", "b&c"], 1_200)})
    frame.write_parquet(path)
    return str(path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(drift.app, ["drift", *arguments], catch_exceptions=False)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str, str]:
    """Return a reference, rows like it, and rows that have changed."""
    return (
        write(tmp_path / "before.parquet", 0),
        write(tmp_path / "same.parquet", 1),
        write(tmp_path / "moved.parquet", 2, shift=2.0),
    )


def test_exit_code_and_first_line_are_the_verdict(tables: tuple[str, str, str]) -> None:
    before, same, moved = tables
    ordinary, changed = call(before, same), call(before, moved)
    assert (ordinary.exit_code, ordinary.stdout.split(":")[0]) == (0, "no drift")
    assert (changed.exit_code, changed.stdout.split(":")[0]) == (1, "drift")
    assert "carried by 'x'" in changed.stdout.splitlines()[0]


def test_segments_are_printed_and_stand_on_the_page(tables: tuple[str, str, str], tmp_path: Path) -> None:
    before, _, moved = tables
    page = tmp_path / "page.html"
    found = call(before, moved, "--segments", "plan", "--html", str(page))
    assert found.exit_code == 1
    assert re.search(r"plan=b&c: p [\d.e-]+, [\d.]+% moved, \d+ rows against \d+, carried by x", found.stdout)
    assert "plan=b&amp;c" in page.read_text().split("<h2>Segments</h2>")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.parquet",), "there is no 'nowhere.parquet'"),
        (("{same}", "--columns", "plam"), "Did you mean 'plan'?"),
        (("{same}", "--columns", ","), "--columns: expected names"),
        (("{same}", "--timestamp", "x"), "is not a timestamp"),
        (("{same}", "--html", "no/such/folder.html"), "--html no/such/folder.html: cannot be written: No such file"),
    ],
)
def test_bad_input_is_2_and_one_message(
    tables: tuple[str, str, str],
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, same, _ = tables
    monkeypatch.setattr("sys.argv", ["trimtab", "drift", before, *(each.format(same=same) for each in arguments)])
    assert calling.call() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_json_holds_the_whole_result(tables: tuple[str, str, str], tmp_path: Path) -> None:
    before, _, moved = tables
    target = tmp_path / "found.json"
    assert call(before, moved, "--json", str(target), "--tests", "ks,chi2").exit_code == 1
    found = json.loads(target.read_text())
    assert found == json.loads(call(before, moved, "--json", "-", "--tests", "ks,chi2").stdout)
    assert (found["drift"], found["columns"][0]["name"], found["method"]) == (True, "x", "permutation")
    assert [each["test"] for each in found["tests"]] == ["ks", "chi2"]


def test_the_page_stands_alone(tables: tuple[str, str, str], tmp_path: Path) -> None:
    before, _, moved = tables
    target = tmp_path / "page.html"
    call(before, moved, "--html", str(target), "--tests", "ks")
    page = target.read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\((?!#)|src=", page)
    assert page.count("<svg") == 3
    assert "&lt;a&gt;" in page
    assert "<a>" not in page
    assert "b&c" not in page
