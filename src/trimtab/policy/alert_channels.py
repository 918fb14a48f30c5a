"""The section `alerts` of trimtab.yaml: who is told what, when, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from trimtab import units
from trimtab.policy.decide import Weekday
from trimtab.policy.section import Section
from trimtab.policy.values import Duration, Hours, Share, Timezone
from trimtab.records.alert_records import AlertEvent, Severity
from trimtab.records.record import Action


class Channel(Section):
    """One place that messages go to."""

    url: str = Field(min_length=1)
    """URL of Apprise, such as slack://..., msteams or workflows://..., mailtos://..., pagerduty://..., jsons://... A
    secret stands in it by its name, `${NAME}`: an environment variable, or NAME_FILE. It is escaped in the URL, unless
    the whole URL is one secret."""
    events: list[AlertEvent] | None = None
    """What is told; left out, all. decision: an action of `actions` was decided. review: a person must answer or look;
    the review is escalated, or has expired. rollback: an earlier version serves again. drift: the band of the windows
    got worse. gate: a run was refused. loop: it stands still. labels: too few have come. freshness: values of a view or
    rows of a table are old. log_gap: answers could not be logged. stream: one does not flow. kpi: one leaves what is
    usual, in the bad direction."""
    models: list[str] | None = None
    """Of these models; left out, of all. What concerns the whole project is always told."""
    severity: Severity = "moderate"
    """The least severity that is told. Reviews, gates, labels, freshness and streams are moderate; rollbacks,
    escalations, gaps of the log and a loop that stands still are severe; decisions, drift and KPIs as their band."""
    actions: list[Action] = ["retrain", "rollback"]
    """Of `decision`: the actions that are told."""
    bands: list[str] | None = None
    """Of `decision` and `drift`: the bands of the matrix that are told; left out, all."""
    group: Duration = units.MICROS["m"]
    """What is seen within so long after the first becomes one message (wall time)."""
    quiet_hours: Hours | None = None
    """In these hours (wall time) nothing is sent; it comes as one message at their end. Left out, none."""
    quiet_days: list[Weekday] = []
    """Days on which the quiet hours begin; left out, every day."""
    timezone: Timezone = "UTC"
    """Time zone of the quiet hours, such as Europe/Berlin."""
    break_through: list[AlertEvent] = []
    """What is sent in the quiet hours, too, such as [review, loop]."""
    replay: Literal["none", "digest"] = "none"
    """Of a replay: none, nothing is told; digest, one message at its end, in the order of event time."""


class Alerts(Section):
    """Messages about what the loop sees and does, by Apprise (pip install 'trimtab[alerts]')."""

    channels: dict[str, Channel] = {}
    """Channels by name."""
    label_coverage: Share = 0.5
    """A matured window in which a smaller share of the rows has a label is told."""
    loop_silence: Duration = 10 * units.MICROS["m"]
    """A loop that has ended no step for so long stands still (wall time)."""

    @field_validator("channels")
    @classmethod
    def _named(cls, channels: dict[str, Channel]) -> dict[str, Channel]:
        for name in channels:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"'{name}' is no name of a channel; expected letters, digits, '-' and '_'")
        return channels
