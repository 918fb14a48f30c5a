"""The section `triggers` of trimtab.yaml: what starts a retraining or an ingestion, besides the loop's own rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from trimtab.lazy_library import LazyLibrary
from trimtab.policy.section import Section
from trimtab.policy.values import Duration, Timezone, Written

if TYPE_CHECKING:
    import croniter
else:  # a policy without a schedule needs none
    croniter = LazyLibrary("croniter")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
ACTIONS = ("list", "show")
"""Words that `trimtab trigger` takes in the place of a name."""
SECRET = r"^[A-Za-z_][A-Za-z0-9_]*$"
CRON_FIELDS = 5
NICKNAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
CRON_WORDS = re.compile(r"[0-9*/,\-#?L]|MON|TUE|WED|THU|FRI|SAT|SUN|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC")
SUCH_AS = "minute, hour, day of the month, month and day of the week, such as '0 3 * * *' or '*/15 * * * mon-fri'"


def _cron(value: object) -> object:
    """Check a cron expression. Fields of chance (R, H of other systems) are refused: a tick must be the same later."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no cron expression; expected {SUCH_AS}")
    text = value.strip()
    if text in NICKNAMES:
        return text
    fields = text.split()
    if len(fields) != CRON_FIELDS:
        raise ValueError(f"'{value}' has {len(fields)} fields; expected five: {SUCH_AS}")
    for field in fields:
        if left := CRON_WORDS.sub("", field.upper()):
            raise ValueError(f"'{value}': '{left}' in '{field}' is not known; expected {SUCH_AS}")
    try:
        croniter.croniter(text, datetime(2026, 1, 1)).get_next(datetime)
    except croniter.CroniterBadDateError:
        raise ValueError(f"'{value}' names a time that never comes") from None
    except ValueError as error:
        raise ValueError(f"'{value}' is no cron expression: {error}; expected {SUCH_AS}") from None
    return text


Cron = Annotated[
    str,
    BeforeValidator(_cron),
    Written("cron expression of five fields", {"type": "string", "examples": ["0 3 * * *"]}),
]


class TriggerRule(Section):
    """One trigger. Whatever its kind, `POST /v1/triggers/NAME` and `trimtab trigger NAME` start it by hand, too."""

    on: Literal["webhook", "merge", "new_data", "schedule"]
    """webhook: a request to the gateway; merge: the same, sent by CI, GitHub or GitLab after a merge into `branch`;
    new_data: the table of `source` has gained `min_rows`; schedule: the times of `cron`."""
    run: Literal["retrain", "pipeline", "ingest"] = "retrain"
    """retrain: ask the loop to retrain the models, where freeze, budget, gates and rollout hold as for every request;
    pipeline: take in new rows of the sources, then the same; ingest: take in new rows alone."""
    models: list[str] | None = Field(default=None, min_length=1)
    """Names of the models that are retrained; left out, all."""
    source: str | None = None
    """Of new_data: the source whose table is counted; of `run: ingest` and `run: pipeline`: the only source that is
    taken in; left out, all."""
    min_rows: int | None = Field(default=None, gt=0)
    """Of new_data: it starts when the table has gained so many rows since this trigger last started."""
    cron: Cron | None = None
    """Of schedule: minute, hour, day of the month, month, day of the week (wall time). Times that passed while `trimtab
    up` did not run, or while a replay ran, are made up for once."""
    timezone: Timezone = "UTC"
    """Time zone of `cron`, such as Europe/Berlin."""
    cooldown: Duration | None = None
    """An event that comes so soon after the last one that was acted on is skipped (wall time); left out, none is."""
    branch: str = Field(default="main", min_length=1)
    """Of merge: the branch whose commits count; `*` and `?` stand for any text and any character."""
    secret: str | None = Field(default=None, pattern=SECRET)
    """Name of the environment variable (or NAME_FILE) with the secret of a webhook: a request that GitHub has signed
    with it (X-Hub-Signature-256), or that brings it as X-Gitlab-Token, needs no token."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        schedule, data = self.on == "schedule", self.on == "new_data"
        if schedule and self.cron is None:
            raise ValueError("on: schedule needs cron, such as '0 3 * * *'")
        if not schedule and self.cron is not None:
            raise ValueError(f"cron belongs to on: schedule, not to on: {self.on}")
        if data and (self.source is None or self.min_rows is None):
            raise ValueError("on: new_data needs source and min_rows")
        if data and self.run != "retrain":
            raise ValueError("on: new_data takes run: retrain; its rows are in the table already")
        if not data and self.min_rows is not None:
            raise ValueError(f"min_rows belongs to on: new_data, not to on: {self.on}")
        if not data and self.run == "retrain" and self.source is not None:
            raise ValueError("source belongs to on: new_data, or to run: ingest or pipeline")
        if self.run == "ingest" and self.models is not None:
            raise ValueError("models belongs to run: retrain or pipeline; run: ingest retrains none")
        if self.secret is not None and self.on not in ("webhook", "merge"):
            raise ValueError(f"secret belongs to on: webhook or merge, not to on: {self.on}")
        return self


def _names(value: object) -> object:
    for name in value if isinstance(value, dict) else ():
        if not NAME.fullmatch(str(name)) or name in ACTIONS:
            raise ValueError(
                f"'{name}' is no name of a trigger; expected up to 32 letters, digits, '-' and '_', and not "
                f"{' or '.join(ACTIONS)}"
            )
    return value


TriggerRules = Annotated[dict[str, TriggerRule], BeforeValidator(_names)]


def times_after(rule: TriggerRule, time: datetime, count: int) -> list[datetime]:
    """Return the next times of a schedule after `time`, in its time zone; none for other triggers."""
    if rule.cron is None:
        return []
    found = croniter.croniter(rule.cron, time.astimezone(ZoneInfo(rule.timezone)))
    return list(islice(_once(rule.cron, iter(partial(found.get_next, datetime), None)), count))


def last_time(rule: TriggerRule, until: datetime) -> datetime:
    """Return the newest time of a schedule that is not after `until`, in its time zone."""
    assert rule.cron is not None
    local = until.astimezone(ZoneInfo(rule.timezone))
    found = croniter.croniter(rule.cron, local)
    past = iter(partial(found.get_prev, datetime), None)
    if croniter.croniter.match(rule.cron, local) and not local.second and not local.microsecond:
        past = chain([local], past)
    return next(_once(rule.cron, past))


def _once(cron: str, times: Iterator[datetime]) -> Iterator[datetime]:
    """Leave out the second of two equal times of day where clocks are set back, unless each hour has its time."""
    hourly = cron == "@hourly" or (not cron.startswith("@") and "*" in cron.split()[1])
    sound = (time.astimezone(UTC).astimezone(time.tzinfo) for time in times)  # croniter sets fold at any time of year
    return (time for time in sound if hourly or not time.fold)
