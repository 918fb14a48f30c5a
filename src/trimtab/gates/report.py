"""All gates of one run as a GateReport, its key, and the refusal that follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from trimtab.clock import Clock
from trimtab.definitions.own_gates import OwnGate
from trimtab.errors import GateRefused
from trimtab.policy.gates import Custom, Gates
from trimtab.records.gate_reports import GateReport, GateResult, HeldOutWindow
from trimtab.records.record import Verdict
from trimtab.records.training import Baseline

SHOWN = 5
"""How many changed keys are named."""


def report_key(
    gates: Gates,
    *,
    champion: str | None,
    trust: Sequence[str] = (),
    measured: bool = True,
    release: str = "",
    own: Sequence[OwnGate] = (),
) -> str:
    """Return the key of a report: where it is equal for a run, the verdicts are equal.

    A gate that is left out has no part in it, so that a new gate does not change the keys of policies without it.

    champion: id of the bundle that a run is compared with. trust: policy `serving.trust`. measured: whether latency and
    memory may refuse the run. release: of this package, since gates may judge otherwise in another one. own: gates that
    the project defines for the model.
    """
    judged = gates_json(gates)
    if own and Custom.GATE in judged:
        judged[Custom.GATE]["functions"] = {gate.name: gate.source for gate in own}
    else:
        judged.pop(Custom.GATE, None)
    parts = [judged, champion, sorted(trust), measured, release]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def gates_json(gates: Gates) -> dict[str, Any]:
    """Return the policy's gates with all limits, as a run keeps them."""
    return {name: section.model_dump(mode="json") for name, section in gates.sections().items()}


def gates_hash(gates: Mapping[str, Any]) -> str:
    """Return the SHA-256 of gates as `gates_json` gives them."""
    return hashlib.sha256(json.dumps(gates, sort_keys=True).encode()).hexdigest()


def changed_thresholds(
    frozen: Mapping[str, Any], now: Mapping[str, Any], frozen_at: datetime | None
) -> GateResult | None:
    """Return a warning that names the keys that changed after the run began; None when none did.

    frozen_at: when the run began; None where its gates are not known.
    """
    if frozen_at is None:
        return None
    changed = sorted(f"gates.{path}" for path in _leaves(frozen) | _leaves(now) if _at(frozen, path) != _at(now, path))
    if not changed:
        return None
    told = [f"{key} from {_at(frozen, key[6:])} to {_at(now, key[6:])}" for key in changed[:SHOWN]]
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return GateResult(
        gate="thresholds",
        metric="changed keys",
        verdict="warn",
        value=float(len(changed)),
        low=None,
        high=None,
        threshold=0.0,
        reason=f"changed after the run began, at {frozen_at:%Y-%m-%d %H:%M:%S} UTC: {', '.join(told)}{more}",
        details={"changed": changed},
    )


def _leaves(gates: Mapping[str, Any]) -> set[str]:
    return {f"{name}.{key}" for name, section in gates.items() for key in section}


def _at(gates: Mapping[str, Any], path: str) -> Any:
    """Return the value of a key; "left out" without its gate."""
    name, _, key = path.partition(".")
    return gates[name].get(key) if name in gates else "left out"


def report(
    results: Sequence[GateResult],
    *,
    model: str,
    run: str,
    champion: str | None,
    clock: Clock,
    key: str,
    again: int = 0,
    held_out: Sequence[HeldOutWindow] = (),
    baselines: Sequence[Baseline] = (),
    thresholds: str = "",
    frozen: str = "",
    frozen_at: datetime | None = None,
    runtime: str = "",
    runtime_reason: str = "",
) -> GateReport:
    """Return the report of one run's gates; it fails when any gate fails, and warns when any warns.

    champion: id of the bundle that the candidate was compared with. key: as `report_key` gives it. again: how often the
    run was judged by the same key before. held_out: the comparison with the champion in windows of the holdout.
    baselines: those of the run. thresholds, frozen: hash of the gates now and before the run. runtime: library that
    serves the model, and why.
    """
    return GateReport(
        id=f"{run}/gates/{key}" + (f"/{again + 1}" if again else ""),
        created_at=clock.now(),
        model=model,
        run=run,
        champion=champion,
        key=key,
        verdict=_worst(results),
        results=tuple(results),
        held_out=tuple(held_out),
        baselines=tuple(baselines),
        thresholds=thresholds,
        frozen=frozen,
        frozen_at=frozen_at,
        runtime=runtime,
        runtime_reason=runtime_reason,
    )


def refuse(report: GateReport) -> None:
    """Raise GateRefused, one line per failing gate saying by how much, when the report fails."""
    failing = [result for result in report.results if result.verdict == "fail"]
    if failing:
        lines = [f"model '{report.model}' was refused by {len(failing)} of {len(report.results)} gate checks:"]
        lines += [f"  {result.gate}: {result.reason}" for result in failing]
        raise GateRefused("\n".join(lines))


def _worst(results: Sequence[GateResult]) -> Verdict:
    verdicts = {result.verdict for result in results}
    return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass"
