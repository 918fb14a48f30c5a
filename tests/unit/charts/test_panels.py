"""What single charts show: the values, levels and shapes of their data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from trimtab.charts.choice_panels import GateMark, gates_panel
from trimtab.charts.distribution_panels import ColumnShares, SegmentGain, column_panel, segments_panel
from trimtab.charts.event_panels import (
    DecisionMark,
    ServingSpan,
    SignalMark,
    decisions_panel,
    serves_panel,
    signals_panel,
)
from trimtab.charts.theme import Frame, Spec
from trimtab.charts.window_panels import Level, WindowValue, gain_growth_panel, gain_panel, money_panel, p_seq_panel

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FRAME = Frame(start=BEGIN, end=BEGIN + 40 * DAY, width=900)


def windows(numbers: list[float], **more: Any) -> list[WindowValue]:
    return [
        WindowValue(start=BEGIN + n * DAY, end=BEGIN + (n + 1) * DAY, value=v, **more) for n, v in enumerate(numbers)
    ]


def layers(spec: Spec, mark: str) -> list[Spec]:
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]


def rows(spec: Spec, mark: str) -> list[Spec]:
    return [row for layer in layers(spec, mark) for row in layer["data"]["values"]]


def test_a_gain_far_beyond_the_others_ends_in_a_triangle() -> None:
    spec = gain_panel(windows([0.1, -0.1] * 50 + [9.0]), [], FRAME)
    points = layers(spec, "point")
    assert [layer["mark"]["shape"] for layer in points] == ["triangle-up"]
    assert max(row["high"] for row in rows(spec, "rect")) < 1


def test_early_windows_without_bounds_are_hatched() -> None:
    bounded = [WindowValue(start=w.start, end=w.end, value=0.1, low=0.0, high=0.2) for w in windows([0.1] * 30)[10:]]
    spec = gain_growth_panel([*windows([0.1] * 10), *bounded], FRAME)
    assert len(rows(spec, "rule")) > 10
    assert "too early for bounds" in str(spec)
    assert "too early" not in str(gain_growth_panel(bounded, FRAME))


def test_a_level_far_beyond_all_values_does_not_flatten_them() -> None:
    names = [Level(name="medium 500", value=500), Level(name="high 1,500", value=1500)]
    spec = money_panel(windows([200.0, 300.0]), [], FRAME, currency="USD", levels=names)
    assert "medium 500" in str(spec)
    assert "high 1,500" not in str(spec)


def test_p_values_of_another_version_begin_a_line_of_their_own() -> None:
    old, new = windows([1.0, 0.5], version=1), windows([1.0, 1e-9], version=2)
    spec = p_seq_panel([*old, *new], FRAME)
    line = layers(spec, "line")[0]
    assert line["encoding"]["detail"]["field"] == "version"
    assert {row["version"] for row in line["data"]["values"]} == {1, 2}
    assert min(row["value"] for row in line["data"]["values"]) == 1e-6


def test_neighbouring_windows_of_one_band_are_one_block_and_buckets_keep_the_worst() -> None:
    bands = ["severe" if n in (5, 6, 7, 90) else "minor" for n in range(100)]
    signals = [
        SignalMark(start=w.start, end=w.end, row="inputs", band=band)  # type: ignore[arg-type]  # made of text
        for w, band in zip(windows([0.0] * 100), bands, strict=True)
    ]
    blocks = rows(signals_panel(signals, FRAME), "bar")
    assert [(row["end"] - row["start"]) // 86_400_000 for row in blocks] == [3, 1]
    many = [
        SignalMark(
            start=BEGIN + n * DAY, end=BEGIN + (n + 1) * DAY, row="inputs", band="severe" if n == 7_777 else "minor"
        )
        for n in range(9_000)
    ]
    assert len(rows(signals_panel(many, FRAME), "bar")) == 1


def test_shadows_of_one_time_stand_in_rows_of_their_own() -> None:
    spans = [
        ServingSpan(role="shadow", version=v, start=BEGIN + n * DAY, end=BEGIN + (n + 5) * DAY)
        for v, n in ((1, 0), (2, 3), (3, 5))
    ]
    found = {row["text"]: row["row"] for row in rows(serves_panel(spans, FRAME), "bar")}
    assert found == {"1": "shadow", "2": "shadow 2", "3": "shadow"}


def test_what_was_done_has_a_shape_of_its_own() -> None:
    marks = [
        DecisionMark(start=BEGIN, end=BEGIN + DAY, number=1, band="severe", done="acted"),
        DecisionMark(start=BEGIN, end=BEGIN + DAY, number=2, band="minor", done="held back"),
        DecisionMark(start=BEGIN, end=BEGIN + DAY, number=3, band="minor", done="raised"),
    ]
    spec = decisions_panel(marks, FRAME)
    assert [layer["mark"].get("shape", layer["mark"]["type"]) for layer in spec["layer"][:3]] == [
        "triangle-down", "triangle-up", "tick",
    ]  # fmt: skip
    assert [row["text"] for row in rows(spec, "text")] == ["1", "3"]


def test_categories_beyond_the_largest_are_one_bar() -> None:
    labels = [f"c{n}" for n in range(12)]
    spec = column_panel(ColumnShares(labels=labels, now=[1 / 12] * 12, reference=[1 / 12] * 12), FRAME)
    found = {row["row"]: row["now"] for row in spec["data"]["values"]}
    assert len(found) == 9
    assert abs(found["other (4)"] - 4 / 12) < 1e-5


def test_the_text_of_an_edge_cannot_leave_its_expression() -> None:
    spec = column_panel(ColumnShares(edges=["it's", "\\", "b"], now=[0.5, 0.5], reference=[0.5, 0.5]), FRAME)
    assert "'it\\'s'" in str(spec["layer"][0]["encoding"]["x"]["axis"]["labelExpr"])


def test_segments_show_what_is_sure_by_their_shape_and_those_furthest_from_zero() -> None:
    segments = [
        SegmentGain(name=f"s{n}", gain=n / 100, low=n / 100 - 0.05, high=n / 100 + 0.05) for n in range(-10, 11)
    ]
    shapes = [layer["mark"]["shape"] for layer in layers(segments_panel(segments, FRAME, limit=4), "point")]
    assert shapes == ["circle", "triangle-down"]
    assert len(rows(segments_panel(segments, FRAME, limit=4), "point")) == 4
    assert len(rows(segments_panel(segments, FRAME, limit=None), "point")) == 21


def test_a_gate_that_fails_lies_left_of_the_line_whichever_side_is_better() -> None:
    gates = [
        GateMark(name="accuracy", value=0.7, threshold=0.8, verdict="fail", higher_is_better=True),
        GateMark(name="latency", value=9.0, threshold=5.0, verdict="fail"),
        GateMark(name="size", value=1.0, threshold=5.0, verdict="pass"),
    ]
    places = {row["row"]: row["at"] for row in rows(gates_panel(gates, FRAME), "point")}
    assert places["accuracy"] < 0
    assert places["latency"] < 0
    assert places["size"] > 0
