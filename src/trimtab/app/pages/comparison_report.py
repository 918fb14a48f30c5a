"""The page of a comparison of two versions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from trimtab.app.overviews.wording import count, days, sentence
from trimtab.app.pages.page_parts import Cell, Column, Figure, Page, Section, Table, write_page
from trimtab.app.reports.comparison_result import Difference, Rule, Segment, VersionComparison
from trimtab.app.reports.version_words import GAIN, GAIN_NOTE, interval, measure_name, number, rule_words, tone
from trimtab.charts.distribution_panels import SegmentGain, segments_panel
from trimtab.charts.theme import Frame
from trimtab.charts.window_panels import WindowValue, gain_panel

TONES = {"good": "pass", "bad": "severe", "": ""}


def comparison_page(found: VersionComparison) -> str:
    """Return the page. Raises MissingExtra without the extra `console`."""
    roles = ", ".join(f"version {version}: {role}" for version, role in found.roles.items())
    rule = sentence(rule_words(found.rule)) if found.rule else ""
    return write_page(
        Page(
            title=f"{found.model}: version {found.version} compared with version {found.against}",
            lead=f"Project {found.project}. Now in service: {roles}.",
            sentence=found.sentence,
            tone=TONES[tone(found.money or found.measures[0])] or "moderate",
            more=[rule] if rule else [],
            facts=_facts(found),
            sections=[_days(found), _measures(found), *_segments(found), _rule(found.rule)],
            foot=[
                "Compared are predictions that both versions made and whose outcome is known, in windows whose labels "
                "are complete. Money a day: the mean on these predictions, at the traffic of all requests."
            ],
        )
    )


def _facts(found: VersionComparison) -> list[tuple[str, str, str]]:
    money, version, against = found.money, f"version {found.version}", f"version {found.against}"
    saved: list[tuple[str, str, str]] = []
    if money is not None:
        saved = [
            ("Saved a day", f"{number(money.gain, 'money', signed=True)} {found.currency}", f"by {version}"),
            ("Lost a day", f"{number(money.against, 'money')} {found.currency}", f"by mistakes of {against}"),
        ]
    return [
        *saved,
        ("Windows", count(found.windows), days(found.start, found.end)),
        ("Labels", count(found.labels), "of predictions of both"),
        ("Predictions a day", count(found.predictions_per_day), "of the model"),
    ]


def _days(found: VersionComparison) -> Section | None:
    money = found.money is not None
    ends = [*(day.start for day in found.days[1:]), found.end]
    windows = [
        WindowValue(start=day.start, end=max(end, day.start), value=day.money if money else day.metric)
        for day, end in zip(found.days, ends, strict=True)
    ]
    known = [window for window in windows if window.value is not None]
    if not known:
        return None
    sums = accumulate(window.value or 0.0 for window in known)
    growth = [
        WindowValue(start=window.start, end=window.end, value=total / n)
        for n, (window, total) in enumerate(zip(known, sums, strict=True), start=1)
    ]
    what = f"{found.currency} saved a day" if money else f"gain in {found.metric}"
    frame = Frame(start=found.days[0].start, end=found.end).drawn()
    return Section(
        heading=f"Window by window: {what}",
        lead=f"Bars above 0: version {found.version} was better; line: mean so far. A triangle ends a bar that is cut.",
        figures=[Figure(chart=gain_panel(windows, growth, frame, metric=what))],
    )


def _measures(found: VersionComparison) -> Section:
    rows = [*([found.money] if found.money else []), *found.measures]
    return Section(
        heading="Both versions on the same predictions",
        table=_table(found, "Measure", [(measure_name(row, found.currency), row, ()) for row in rows]),
        foot=f"{GAIN_NOTE} The interval ({found.confidence:.0%}) holds however often the page is looked at.",
    )


def _table(
    found: VersionComparison,
    first: str,
    rows: Sequence[tuple[str, Difference, tuple[str, ...]]],
    more: Sequence[str] = (),
) -> Table:
    names = (first, *more, f"version {found.version}", f"version {found.against}", GAIN, "interval")
    cells: list[Sequence[Cell | str]] = [
        (
            name,
            *others,
            number(row.value, row.unit),
            number(row.against, row.unit),
            Cell(number(row.gain, row.unit, signed=True), TONES[tone(row)]),
            interval(row),
        )
        for name, row, others in rows
    ]
    return Table([Column(name) for name in names], cells)


def _segments(found: VersionComparison) -> list[Section]:
    sections = []
    what = f"{found.currency} lost a day" if found.money else found.metric
    worst = _worst(found.segments)
    columns = list(dict.fromkeys(segment.column for segment in found.segments))
    for column in columns:
        rows = [(s.value, s.money or s.metric, (count(s.rows),)) for s in found.segments if s.column == column]
        gains = [SegmentGain(name=value, gain=row.gain, low=row.low, high=row.high) for value, row, _ in rows]
        chart = segments_panel(gains, Frame().drawn(), metric=what)
        sections.append(
            Section(
                heading=f"By {column}: {what}",
                lead=f"Right of 0 version {found.version} is better. Filled: the interval lies on one side of 0.",
                figures=[Figure(chart=chart)],
                table=_table(found, column, rows, ["rows"]),
                foot=worst if column == columns[-1] else "",
            )
        )
    return sections


def _worst(segments: Sequence[Segment]) -> str:
    """Name the segments in which the compared version is surely worse."""
    worse = [f"{s.column} {s.value}" for s in segments if tone(s.money or s.metric) == "bad"]
    if not worse:
        return "In none of these segments is the compared version surely worse."
    return f"The compared version is worse in: {', '.join(worse)}. With many segments one may look worse by chance."


def _rule(rule: Rule | None) -> Section | None:
    if rule is None:
        return None
    before = f" and {rule.held_out} windows of the holdout, from before it got traffic" if rule.held_out else ""
    return Section(
        heading="What the rule says",
        notes=[
            sentence(rule_words(rule)),
            sentence(rule.reason),
        ],
        foot=f"A version is promoted when its mean gain in {rule.metric} is so many standard errors above zero (minus "
        "the loss that the policy tolerates) that a look after every window cannot produce it by luck. Standard errors "
        "are widened for windows that resemble the one before, for rare large losses and for few windows. The "
        f"evidence: {rule.labels:,} labels in {rule.windows} windows{before}.",
    )
