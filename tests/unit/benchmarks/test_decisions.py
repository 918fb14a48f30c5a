"""The benchmark of policies on a tiny stream: what features know, how harms are counted, the shares."""

import re
from pathlib import Path

import numpy as np
import pytest
from benchmarks.decisions import __main__ as decisions
from benchmarks.decisions.harms import HARMS
from benchmarks.decisions.policies import CALENDARS, DEFAULT, NEVER, StreamSource
from benchmarks.decisions.streams import DAY, EPOCH_DAY, STREAMS, Rows, Stream, earlier_mean, history
from hypothesis import given
from hypothesis import strategies as st

WINDOWS, ROWS = 48, 15


def build(folder: Path, delay: int) -> Rows:
    """Return a stream whose slope changes over and over."""
    generator = np.random.default_rng(5)
    window = np.repeat(np.arange(WINDOWS), ROWS)
    a = generator.normal(size=len(window))
    y = a * (1 + window / 8) + generator.normal(0, 0.3, len(window))
    return Rows(window=window, y=y, columns={"a": a, "mean": earlier_mean(window * 0, window, y, lag=delay + 1)})


TINY = Stream(
    name="tiny", task="regression", build=build, costs={"absolute_error": 1}, first=0.4, min_samples_leaf=5, tuning=True
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StreamSource:
    monkeypatch.setitem(STREAMS, "tiny", TINY)
    monkeypatch.setattr(decisions, "FOLDER", tmp_path)
    monkeypatch.setattr("benchmarks.decisions.policies.PARAMS", {"max_iter": 3, "max_leaf_nodes": 4})
    return StreamSource("tiny", tmp_path)


def test_the_table_ends_with_the_shares_of_hindsight(tiny: StreamSource) -> None:
    tables = decisions._measure([tiny], quick=True, jobs=1)
    table = tables[tiny]
    assert [row.name for row in table.rows] == [NEVER, *CALENDARS, DEFAULT]
    assert table.rows[-1].retrainings == len(table.rows[-1].retrained) > 0
    last = list(decisions._summary({"tiny": table}))[-1]
    assert re.fullmatch(r"share of hindsight: \d\.\d\d default, \d\.\d\d calendar", last)
    shown = "\n".join(decisions._shown("tiny", table))
    assert shown.count("\n| ") == len(table.rows) + 1


def test_the_calendar_of_a_stream_is_chosen_on_the_others() -> None:
    gains = {"one": {"every 7": 1.0, "every 14": 0.0, "every 28": 0.0}}
    gains["two"] = gains["three"] = {"every 7": 0.0, "every 14": 0.0, "every 28": 0.4}
    assert decisions._calendar(gains, "one") == "every 28"
    assert decisions._calendar(gains, "two") == "every 7"


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.floats(-5, 5)), min_size=1, max_size=40),
    lag=st.integers(1, 4),
    span=st.none() | st.integers(1, 4),
)
def test_means_of_labels_are_of_earlier_windows_alone(
    rows: list[tuple[int, int, float]], lag: int, span: int | None
) -> None:
    window, key, y = (np.array(column) for column in zip(*sorted(rows), strict=True))
    found = earlier_mean(key, window, y.astype(np.float64), lag=lag, span=span)
    for place, (at, own) in enumerate(zip(window, key, strict=True)):
        first = -1 if span is None else at - lag - span
        known = (window <= at - lag) & (window > first) & (key == own)
        assert found[place] == pytest.approx(y[known].mean(), abs=1e-9) if known.any() else np.isnan(found[place])


def test_labels_are_known_two_windows_after_their_own() -> None:
    rows = history(TINY, Path())
    window = rows.at // DAY - EPOCH_DAY
    assert (rows.known_at == (EPOCH_DAY + window + 3) * DAY).all()
    assert (np.diff(rows.at) >= 0).all()


def test_wrong_labels_are_seen_by_the_loop_and_the_right_ones_are_counted() -> None:
    clean = history(TINY, Path())
    first = EPOCH_DAY + 30
    for name in ("gross label error", "20 % flips"):
        harmed = HARMS[name].apply(clean, first)
        wrong = harmed.y != clean.y
        assert wrong.any()
        assert (clean.at[wrong] // DAY >= first).all()
        assert (harmed.outcomes == clean.y).all()
    unit = HARMS["unit error"].apply(clean, first)
    changed = ~np.isclose(unit.X, clean.X, equal_nan=True).all(axis=1)
    assert set(clean.at[changed] // DAY - first) == set(range(10))
    assert (unit.outcomes == clean.y).all()
