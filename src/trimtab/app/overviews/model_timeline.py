"""The windows of a model as a row of moments, for a reader who moves through the charts by key or pointer."""

from __future__ import annotations

import msgspec

from trimtab.app.overviews.model_overview import ModelOverview, UsualLoss
from trimtab.app.overviews.model_windows import ChampionWindow
from trimtab.app.overviews.wording import interval, iso, metric, money, p_value, short_day, window_name
from trimtab.charts.buckets import grouped
from trimtab.charts.theme import MOST_MARKS

DAY_S = 86_400


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One window, or several that are drawn as one. at: its middle, milliseconds since 1970.

    text: what is said of it. start, version: of the window that a click opens.
    """

    at: int
    text: str
    start: str
    version: int


def timeline(page: ModelOverview) -> tuple[Moment, ...]:
    """Return the champion's windows in order of event time, at most as many as a chart has marks.

    Of several windows in one mark the worst is said: the one with the smallest corrected p-value.
    """
    smallest = {judged.start: judged.p_seq for judged in page.judged}
    decided = frozenset(smallest)
    for signal in page.signals:
        if signal.corrected is not None and signal.start not in decided:
            smallest[signal.start] = min(signal.corrected, smallest.get(signal.start, 1.0))
    usual = {each.version: each for each in page.usual}
    impacts = {judged.start: judged.impact_per_day for judged in page.judged}
    acts = {mark.start: mark for mark in page.marks}
    found = []
    for group in grouped(page.windows, MOST_MARKS):
        window = min(group, key=lambda w: (smallest.get(w.start, 1.0), w.start))
        parts = [_name(window), *_loss(page, window, usual.get(window.version))]
        if window.start in smallest:
            parts.append(f"p {p_value(smallest[window.start])}")
        if window.start in impacts:
            parts.append(f"{money(impacts[window.start], page.now.currency, signed=True)} a day")
        if window.start in acts:
            parts.append(f"decision {acts[window.start].number} {acts[window.start].action}")
        middle = window.start + (window.end - window.start) / 2
        at = round(middle.timestamp() * 1000)
        found.append(Moment(at=at, text=", ".join(parts), start=iso(window.start), version=window.version))
    return tuple(found)


def _name(window: ChampionWindow) -> str:
    whole_day = (window.end - window.start).total_seconds() == DAY_S and window.start.hour == 0
    return short_day(window.start) if whole_day else window_name(window.start, window.end)


def _loss(page: ModelOverview, window: ChampionWindow, usual: UsualLoss | None) -> list[str]:
    if window.loss is None:
        return ["labels not known yet"] if not window.matured else []
    said = f"{page.now.metric.replace('_', ' ')} {metric(window.loss)}"
    return [said if usual is None else f"{said}, usual {interval(usual.low, usual.high)}"]
