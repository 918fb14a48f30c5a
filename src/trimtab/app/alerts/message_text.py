"""One message about several alerts, as plain text, HTML and Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from trimtab.app.overviews import wording
from trimtab.records.alert_records import SEVERITIES, Alert, Severity

MOST_SHOWN = 20
"""Alerts that a message shows one by one; the others are counted."""
MARKS = re.compile(r"[\\`*\[\]<>~|]|(?<!\w)_|_(?!\w)")
"""What Markdown takes for more than a character; inside of words, such as p_seq, `_` is one."""
TYPE = "font-family:system-ui,sans-serif;font-size:14px;line-height:20px"
LINK = "color:#0a58ca"
COLOURS: dict[Severity, str] = {"minor": "#57606a", "moderate": "#8a5a00", "severe": "#b42318"}


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message in the three forms that channels take."""

    title: str
    text: str
    html: str
    markdown: str
    severity: Severity


def compose(
    alerts: Sequence[Alert],
    *,
    project: str,
    console: str | None,
    label: str,
    answered: Sequence[str] = (),
    held_since: datetime | None = None,
) -> Message:
    """Return the message about alerts, oldest first.

    console: URL of the console; None leaves links out. label: names the message, so that a reader knows one that came
    twice. answered: ids of alerts that need no answer any more. held_since: when the first was held by quiet hours.
    """
    shown = distinct(alerts)
    severity = max((alert.severity for alert in shown), key=SEVERITIES.index)
    notes = [_span(shown)] if len(shown) > 1 else []
    if held_since is not None:
        notes.append(f"held since {wording.instant(held_since)} by quiet hours")
    more = len(shown) - MOST_SHOWN
    last = f"and {more} more: trimtab alerts list" if more > 0 else ""
    head, foot = "; ".join(notes), f"Trimtab, project {project}, message {label}"
    listed = [_Lines.of(alert, console, alert.id in answered) for alert in shown[:MOST_SHOWN]]
    return Message(
        title=_title(shown, project, severity),
        text="\n\n".join(filter(None, [head, *(each.text() for each in listed), last, foot])) + "\n",
        html="".join(
            [
                f'<div style="{TYPE}">',
                f"<p>{escape(head)}</p>" if head else "",
                *(each.html() for each in listed),
                f"<p>{escape(last)}</p>" if last else "",
                f'<p style="color:#57606a;font-size:12px">{escape(foot)}</p></div>',
            ]
        ),
        markdown="\n\n".join(filter(None, [head, *(each.markdown() for each in listed), last, f"_{foot}_"])),
        severity=severity,
    )


def distinct(alerts: Sequence[Alert]) -> list[Alert]:
    """Return the alerts of a message by event time; of those about one record the one that asks most of its reader."""
    best: dict[str, Alert] = {}
    for alert in alerts:
        key = alert.refers_to or alert.id
        if key not in best or _weight(alert) > _weight(best[key]):
            best[key] = alert
    return sorted(best.values(), key=lambda alert: (alert.at, alert.id))


def _weight(alert: Alert) -> tuple[bool, int]:
    return alert.waits, SEVERITIES.index(alert.severity)


def _title(shown: Sequence[Alert], project: str, severity: Severity) -> str:
    if len(shown) == 1:
        return f"[{severity}] {shown[0].title}"
    events = Counter({"kpi": "KPI"}.get(alert.event, alert.event.replace("_", " ")) for alert in shown)
    counts = ", ".join(f"{count} {event}" for event, count in events.most_common())
    replayed = "replay: " if all(alert.replayed for alert in shown) else ""
    return f"[{severity}] {project}: {replayed}{len(shown)} alerts ({counts})"


def _span(shown: Sequence[Alert]) -> str:
    times = dict.fromkeys(wording.instant(alert.at) for alert in (shown[0], shown[-1]))
    return f"{len(shown)} alerts, {' to '.join(times)}"


@dataclass(frozen=True)
class _Lines:
    """What is said of one alert."""

    alert: Alert
    facts: tuple[tuple[str, str], ...]
    """Label and text of each line below the title."""
    link: str | None

    @classmethod
    def of(cls, alert: Alert, console: str | None, answered: bool) -> _Lines:
        facts = [("figures", alert.figure), ("reason", alert.reason), ("time", wording.instant(alert.at))]
        facts.append(("next", "answered meanwhile" if answered else alert.command))
        link = None if console is None else f"{console.rstrip('/')}{alert.path}"
        return cls(alert, tuple((label, text) for label, text in facts if text), link)

    def text(self) -> str:
        lines = [f"{self.alert.severity.upper()}: {self.alert.title}"]
        lines += [f"  {label:<8} {text}" for label, text in self.facts]
        return "\n".join([*lines, *([f"  {'page':<8} {self.link}"] if self.link else [])])

    def html(self) -> str:
        title, severity = escape(self.alert.title), self.alert.severity
        lines = [f'<strong style="color:{COLOURS[severity]}">{severity}</strong>: <strong>{title}</strong>']
        lines += [f"{label}: {escape(text)}" for label, text in self.facts]
        if self.link is not None:  # in words, too: the plain part of an e-mail is made of this one, without links
            lines.append(f'page: <a href="{escape(self.link)}" style="{LINK}">{escape(self.link)}</a>')
        return f"<p>{'<br>'.join(lines)}</p>"

    def markdown(self) -> str:
        title = f"[{_plain(self.alert.title)}]({self.link})" if self.link else _plain(self.alert.title)
        lines = [f"**{self.alert.severity}**: {title}"]
        for label, text in self.facts:
            code = label == "next" and text == self.alert.command
            lines.append(
                f"- {label}: " + (", or: ".join(f"`{each}`" for each in text.split(", or: ")) if code else _plain(text))
            )
        return "\n".join(lines)


def _plain(text: str) -> str:
    """Return a text, such as the reason that a person gave, in one line of Markdown that shows it as it is."""
    return MARKS.sub(r"\\\g<0>", " ".join(text.split()))
