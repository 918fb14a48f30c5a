"""The section `deploy.ci` of trimtab.yaml: what the pipelines of CI servers do."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from trimtab import units
from trimtab.clock import parse_time
from trimtab.policy.section import Section
from trimtab.policy.values import Duration

CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
CRON_PART = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<every>\d+))?")
RUFF = "ruff check --select E9,F ."
SET_BY_JOBS = frozenset({"GATEWAY_TOKEN", "MODEL", "PATH", "REASON", "TRIMTAB_ENV", "TRIMTAB_USER"})
LONGEST_JOB = 24 * units.MICROS["h"]


def _cron(text: str) -> str:
    """Check minute, hour, day of the month, month and day of the week, as all three servers read them."""
    fields = text.split()
    if len(fields) != len(CRON_RANGES):
        raise ValueError(f"'{text}' has {len(fields)} fields; expected five, such as '0 4 * * 1' for Mondays at 4")
    for field, (least, most) in zip(fields, CRON_RANGES, strict=True):
        for part in field.split(","):
            match = CRON_PART.fullmatch(part)
            first, last = (match["first"], match["last"]) if match else (None, None)
            fits = first is None or least <= int(first) <= int(last or first) <= most
            if match is None or not fits or match["every"] == "0":
                raise ValueError(f"'{field}' in '{text}': expected *, or numbers from {least} to {most}, such as */2")
    return " ".join(fields)


def _time(text: object) -> object:
    """Take a time as the command line does; YAML reads a day as a date."""
    text = text.isoformat() if isinstance(text, date) else text
    if isinstance(text, str):
        parse_time(text)
    return text


def _free(name: str) -> str:
    if name.startswith(("GITHUB_", "CI_")) or name in SET_BY_JOBS:
        raise ValueError(f"'{name}' is set by the server or by the pipeline; expected another name")
    return name


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_free)]
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\r\n\t]*\S[^\r\n\t]*$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
Branch = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./-]*$")]
Time = Annotated[str, BeforeValidator(_time), Field(pattern=r"^[0-9T:.+Z -]+$")]
Cron = Annotated[str, AfterValidator(_cron)]


class Secrets(Section):
    """Names of secrets of the CI server, which jobs get as environment variables. Values stand in no file."""

    jobs: list[SecretName] = []
    """Of all jobs that read data, those of pull requests too."""
    staging: list[SecretName] = []
    """Of jobs that write to the staging environment, in addition."""
    production: list[SecretName] = []
    """Of jobs that write to the production environment, in addition."""


class Ci(Section):
    """The pipeline that `trimtab ci` writes."""

    branch: Branch = "main"
    """A push to it trains, and deploys."""
    staging: str | None = None
    """Entry of `environments` that a push trains in and deploys to; left out, `staging` if there is one. Without, the
    stores are embedded, a job keeps them for the next one, and nothing is deployed beyond it."""
    production: str | None = None
    """Entry of `environments` that gets what serves in staging, after an approval; left out, `production` if there is
    one."""
    install: list[Line] = []
    """What pip installs, such as `trimtab[postgres]`, `./common` or `-r requirements.txt`; left out, the version of
    Trimtab that writes the pipeline, with the extras that policy and sources need, and known libraries of
    trainers, such as LightGBM."""
    lint: Line | None = RUFF
    """Linter of the project's files; null: none. For the default, ruff is installed; another one belongs to
    `install`."""
    prepare: list[Line] = []
    """Commands that fetch or make data before it is read, such as `python prepare.py`."""
    sample: Duration | None = 90 * units.MICROS["d"]
    """Newest stretch of the files that a pull request trains on; null: all of them."""
    sample_rows: int | None = Field(default=20_000, gt=0)
    """Rows with which a pull request stops to read a database, an API or a stream; null: all."""
    as_of: Time | None = None
    """Time of which training sets are made, such as 2013-07-01, for data of the past; left out, the time of the run."""
    schedule: Cron | None = None
    """Times in UTC at which the pipeline runs without a push, such as `0 4 * * 1`; left out, none."""
    timeout: Duration = Field(default=units.MICROS["h"], ge=units.MICROS["m"], le=LONGEST_JOB)
    """Longest time of a job, in whole minutes."""
    runner: list[Label] = []
    """Labels of the machines that run jobs; left out, ubuntu-latest on GitHub and any machine elsewhere."""
    secrets: Secrets = Secrets()
    """Names of secrets."""
    artifact_days: int = Field(default=30, ge=1, le=400)
    """Days for which reports of a run are kept."""

    @model_validator(mode="after")
    def _distinct(self) -> Ci:
        if self.staging is not None and self.staging == self.production:
            raise ValueError(f"staging and production are both '{self.staging}'; expected two environments")
        if self.timeout % units.MICROS["m"]:
            raise ValueError(f"timeout {units.short(self.timeout)} is not a whole number of minutes, such as 90m")
        return self
