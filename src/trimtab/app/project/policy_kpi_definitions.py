"""The KPIs of the policy as definitions, beside those of definitions.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from trimtab.definitions.collection import Definitions
from trimtab.definitions.kpis import Kpi
from trimtab.definitions.sql_source import SQLSource
from trimtab.errors import DefinitionError, PolicyError, nearest
from trimtab.policy.model import Policy
from trimtab.policy.policy_kpis import PolicyKpi
from trimtab.policy.reader import line_of

T = TypeVar("T")


def with_policy_kpis(where: Path, policy: Policy, definitions: Definitions) -> Definitions:
    """Return the definitions with the KPIs of the policy. where: the policy's file. Raises PolicyError."""
    found = dict(definitions.kpis)
    for name, section in policy.kpis.items():
        key = f"kpis.{name}"
        if name in found:
            raise _error(where, key, f"{definitions.path} declares a KPI '{name}', too; rename one of them")
        try:
            found[name] = _kpi(where, name, section, definitions)
        except DefinitionError as error:
            raise _error(where, key, str(error).removeprefix(f"Kpi '{name}'").lstrip(": ")) from None
    for name, kpi in found.items():
        if kpi.impact and kpi.unit not in ("", policy.impact.currency):
            key = f"kpis.{name}" if name in policy.kpis else "impact.currency"
            raise _error(
                where,
                key,
                f"KPI '{name}' counts as money lost in {kpi.unit}; impact.currency is {policy.impact.currency}",
            )
    return replace(definitions, kpis=found)


def _kpi(where: Path, name: str, section: PolicyKpi, definitions: Definitions) -> Kpi:
    sql = {n: source for n, source in definitions.sources.items() if isinstance(source, SQLSource)}
    return Kpi(
        name,
        source=_named(where, f"kpis.{name}.table", section.table, definitions.sources, "source"),
        query=section.query,
        database=_named(where, f"kpis.{name}.database", section.database, sql, "tt.SQLSource"),
        value=section.value,
        timestamp=section.timestamp,
        entity=section.entity,
        model=_named(where, f"kpis.{name}.model", section.model, definitions.models, "model"),
        higher_is=section.higher_is,
        aggregation=section.aggregation,
        unit=section.unit,
        impact=section.impact,
    )


def _named(where: Path, key: str, name: str | None, known: Mapping[str, T], what: str) -> T | None:
    if name is None:
        return None
    if name not in known:
        raise _error(where, key, f"'{name}' is no {what}.{nearest(name, known)}")
    return known[name]


def _error(where: Path, key: str, text: str) -> PolicyError:
    return PolicyError(f"{where}:{line_of(where, key)}: {key}: {text}")
