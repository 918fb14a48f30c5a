"""Judges a batch or a table as a whole: its size, its age, rows that repeat, values that refer to other tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from trimtab.data.personal_data import mask
from trimtab.definitions.sources import Source
from trimtab.errors import PolicyError, nearest
from trimtab.policy.data_checks import Duplicates, Freshness, OnFailure, Reference, Volume
from trimtab.records.data import CheckReport, CheckResult, TableVersion
from trimtab.stats.score import leave_one_out_z
from trimtab.stats.tail import tail_p
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables
from trimtab.units import MICROS, plural, short

FEWEST_BATCHES = 8
"""With fewer good batches a size is not judged by them."""
MOST_BATCHES = 60
"""Good batches that a size is compared with."""
LOOKED_AT = 3
"""Records that are read for each good batch: some are of validations, empty pulls and releases."""
SD_FLOOR = 0.02
"""Least standard deviation of the logarithm of sizes: batches that differ by 2 % are alike."""


AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))
"""Seconds of a unit; an age is written in the largest of which it has two."""


@dataclass(frozen=True)
class GoodBatch:
    """A batch that was ingested. rows: it had so many. first, added: its rows in the table of its version."""

    name: str
    rows: int
    first: int
    added: int


def good_batches(table: str, *, metadata: Metadata, limit: int) -> list[GoodBatch]:
    """Return the last batches that were ingested since the table was last read again as a whole, oldest first."""
    reports: dict[str, CheckReport] = {}
    for report in metadata.find(CheckReport, table=table, verdict=("pass", "warn"), limit=LOOKED_AT * limit):
        reports.setdefault(report.batch_hash, report)
    found: list[GoodBatch] = []
    for version in metadata.find(TableVersion, table=table, limit=LOOKED_AT * limit):  # newest first
        if version.replaces_all or len(found) == limit:
            break
        report_of, added = reports.get(version.source_hash), version.added_rows
        if report_of is not None and added:
            found.append(GoodBatch(version.source, report_of.rows, version.rows - added, added))
    return found[::-1]


def judge_volume(policy: Volume, rows: int, before: Sequence[int]) -> CheckResult:
    """Judge the size of a batch. before: sizes of the last good batches, oldest first.

    By the limits of the policy, else by a p-value: the greater of that of the size among the sizes, and that of its
    change among the changes, both on the logarithm. A p-value is that of the score, standard deviations from the
    others, among the scores of all (full conformal). So it holds for batches that are exchangeable, and for those whose
    changes are, such as steady growth.
    """
    if policy.min is not None or policy.max is not None:
        low, high = policy.min, policy.max
        if low is not None and rows < low:
            return _failed("volume", policy.on_failure, f"{plural(rows, 'row')}, expected {low:,} or more", rows, low)
        if high is not None and rows > high:
            return _failed(
                "volume", policy.on_failure, f"{plural(rows, 'row')}, expected {high:,} or fewer", rows, high
            )
        return CheckResult(check="volume", verdict="pass", reason=f"{plural(rows, 'row')}", value=rows)
    sizes = list(before)[-MOST_BATCHES:]
    if len(sizes) < FEWEST_BATCHES:
        reason = f"{plural(rows, 'row')}; not judged: {len(sizes)} good batches before it, {FEWEST_BATCHES} are needed"
        return CheckResult(check="volume", verdict="pass", reason=reason, value=rows)
    logs = np.log1p(np.array([*sizes, rows], np.float64))
    p = max(_p_of_last(logs), _p_of_last(np.diff(logs)))
    usual = f"the last {len(sizes)} good batches had {min(sizes):,} to {max(sizes):,}"
    reason = f"{plural(rows, 'row')}; {usual}: p {p:.2g}, limit {policy.level:g}"
    if p < policy.level:
        return _failed("volume", policy.on_failure, reason, p, policy.level)
    return CheckResult(check="volume", verdict="pass", reason=reason, value=p, limit=policy.level)


def judge_freshness(policy: Freshness, times: Iterable[datetime | None], now: datetime) -> CheckResult:
    """Judge the age of the newest row. times: of rows; those after `now` do not count."""
    newest = max((time for time in times if time is not None and time <= now), default=None)
    limit = policy.max_age / MICROS["s"]
    if newest is None:
        return _failed("freshness", policy.on_failure, "there is no row until now", None, limit)
    age = (now - newest).total_seconds()
    reason = f"the newest row is of {newest:%Y-%m-%d %H:%M} UTC, {_age(age)} ago; limit {short(policy.max_age)}"
    if age > limit:
        return _failed("freshness", policy.on_failure, reason, age, limit)
    return CheckResult(check="freshness", verdict="pass", reason=reason, value=age, limit=limit)


def judge_duplicates(policy: Duplicates, frame: pl.DataFrame, source: Source) -> CheckResult:
    """Judge the share of rows that repeat an earlier one. Raises PolicyError for columns that are not there."""
    columns = _identifying(policy, frame, source)
    filled = frame.select(columns).drop_nulls() if policy.by == "key" else frame.select(columns)
    repeated = filled.height - filled.n_unique() if filled.height else 0
    share = repeated / max(frame.height, 1)
    what = "whole rows" if policy.by == "row" else ", ".join(columns)
    reason = f"{plural(repeated, 'row')} of {frame.height:,} repeat an earlier one ({what})"
    if share > policy.max_share:
        reason += f", more than the {policy.max_share:.2%} that may"
        return _failed("duplicates", policy.on_failure, reason, share, policy.max_share)
    return CheckResult(check="duplicates", verdict="pass", reason=reason, value=share, limit=policy.max_share)


def judge_reference(
    column: str, policy: Reference, frame: pl.DataFrame, tables: Tables, *, pii: Collection[str] = ()
) -> CheckResult:
    """Judge whether the values of a column are in a column of another table.

    pii: columns whose values are not shown.
    Raises PolicyError when one of the columns does not exist, or their types cannot be compared.
    """
    check = f"references.{column}"
    if column not in frame.columns:
        raise PolicyError(f"checks: {check}: there is no column '{column}'.{nearest(column, frame.columns)}")
    if tables.version(policy.source) is None:
        reason = f"table '{policy.source}' has no rows yet; first run: trimtab ingest {policy.source}"
        return _failed(check, policy.on_failure, reason, None, policy.max_share)
    other = tables.scan(policy.source)
    types = other.collect_schema()
    if policy.column not in types:
        raise PolicyError(
            f"checks: {check}: source '{policy.source}' has no column '{policy.column}'.{nearest(policy.column, types)}"
        )
    own = frame.get_column(column)
    if own.dtype != types[policy.column] and not (own.dtype.is_integer() and types[policy.column].is_integer()):
        raise PolicyError(
            f"checks: {check}: '{column}' is {own.dtype}, and {policy.to} is {types[policy.column]}: make both alike "
            "with dtypes= of their sources"
        )
    values = own.drop_nulls().to_frame(policy.column).lazy()
    known = other.select(policy.column).unique()
    missing = values.cast(pl.Schema({policy.column: types[policy.column]})).join(known, on=policy.column, how="anti")
    absent = missing.collect().get_column(policy.column)
    share = len(absent) / max(frame.height, 1)
    reason = f"{plural(len(absent), 'row')} of {frame.height:,} with a value that {policy.to} does not have"
    if share <= policy.max_share:
        return CheckResult(check=check, verdict="pass", reason=reason, value=share, limit=policy.max_share)
    some = [mask(column, value, pii) for value in absent.unique(maintain_order=True).head(3)]
    reason += f", such as {', '.join(map(str, some))}; {f'{policy.max_share:.2%}' if policy.max_share else 'none'} may"
    return _failed(check, policy.on_failure, reason, share, policy.max_share)


def _identifying(policy: Duplicates, frame: pl.DataFrame, source: Source) -> list[str]:
    if policy.by == "row":
        return frame.columns
    if policy.by == "key":
        if not source.key:
            raise PolicyError(
                f"checks.{source.name}.duplicates: source '{source.name}' has no key: name one, "
                f"{type(source).__name__}(..., key=[...]), or name columns, or write: duplicates: row"
            )
        return list(dict.fromkeys((*source.key, source.known_column)))
    for column in policy.by:
        if column not in frame.columns:
            raise PolicyError(
                f"checks.{source.name}.duplicates: there is no column '{column}'.{nearest(column, frame.columns)}"
            )
    return list(policy.by)


def _p_of_last(values: np.ndarray) -> float:
    """Return the p-value of the last value among all."""
    z = np.abs(leave_one_out_z(values, sd_floor=SD_FLOOR))
    return float(tail_p(z[:-1], z[-1]))


def _failed(check: str, on_failure: OnFailure, reason: str, value: float | None, limit: float | None) -> CheckResult:
    return CheckResult(check=check, verdict=on_failure, reason=reason, value=value, limit=limit)


def _age(seconds: float) -> str:
    unit, name = next(((unit, name) for unit, name in AGES if seconds >= 2 * unit), (1.0, "s"))
    return f"{seconds / unit:.1f}".removesuffix(".0") + name
