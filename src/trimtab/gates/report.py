"""All gates of one run as a GateReport, and the refusal that follows from it. Called by app/stages."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.clock import Clock
from trimtab.errors import GateRefused
from trimtab.records import GateReport, GateResult, Verdict


def report(results: Sequence[GateResult], *, model: str, run: str, champion: str | None, clock: Clock) -> GateReport:
    """Return the report of one run's gates; it fails when any gate fails, and warns when any warns.

    champion: id of the bundle that the candidate was compared with.
    """
    return GateReport(
        id=f"{run}/gates/{champion}" if champion else f"{run}/gates",
        created_at=clock.now(),
        model=model,
        run=run,
        champion=champion,
        verdict=_worst(results),
        results=tuple(results),
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
