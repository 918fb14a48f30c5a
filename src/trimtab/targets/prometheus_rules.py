"""Alerting rules for Prometheus on the metrics of gateway and loop, with the limits of the policy. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from trimtab.policy.model import Policy
from trimtab.units import MICROS, short

MADE_BY = "# Made by: trimtab export grafana --write\n"


def rules_text(policy: Policy) -> str:
    """Return the file of rules."""
    return MADE_BY + yaml.safe_dump(rules(policy), sort_keys=False, width=120, allow_unicode=True)


def rules(policy: Policy) -> dict[str, Any]:
    """Return the rules, as a file of Prometheus holds them."""
    return {"groups": [{"name": f"trimtab-{policy.project}", "rules": _rules(policy)}]}


def corrected_p(where: str = "") -> str:
    """Return the expression of the p-value that decisions use: the least of those measured, times their number."""
    least, number = (f"{how} by (model) (trimtab_sequential_p{where})" for how in ("min", "count"))
    return f"clamp_max({least} * {number}, 1)"


def error_rate(where: str, rate: str) -> str:
    """Return the expression of the share of rows without a score, by model and version."""
    scope = f"{{{where}}}" if where else ""
    errors, rows = (
        f"sum by (model, version) (rate({name}{scope}{rate}))"
        for name in ("trimtab_prediction_errors_total", "trimtab_predictions_total")
    )
    return f"{errors} / {rows}"


def _rules(policy: Policy) -> list[dict[str, Any]]:
    most_errors, p99 = policy.rollout.rollback_when.error_rate, policy.rollout.rollback_when.p99
    silence, currency = policy.alerts.loop_silence / MICROS["s"], policy.impact.currency
    worst = min(band.p[1] for band in policy.decide.matrix.root.values())
    slow = "histogram_quantile(0.99, sum by (le, model, version) (rate(trimtab_prediction_latency_seconds_bucket[5m])))"
    found = [
        _rule("TrimtabGatewayAbsent", "absent(trimtab_workers)", "2m", "severe", "No gateway is scraped", "trimtab up"),
        _rule(
            "TrimtabNotServingNewestRevision",
            "trimtab_models_in_trouble > 0",
            "1m",
            "severe",
            "{{ $labels.model }} does not serve as its newest revision says",
            "trimtab status",
        ),
        _rule(
            "TrimtabAnswersNotLogged",
            "increase(trimtab_log_gap_rows_total[5m]) > 0",
            "0m",
            "severe",
            "{{ $value | humanize }} rows were answered and not logged",
            "trimtab doctor",
        ),
        _rule(
            "TrimtabLoopStandsStill",
            f"time() - trimtab_loop_last_step_timestamp_seconds > {silence:g}",
            "1m",
            "severe",
            "The loop has ended no step for {{ $value | humanizeDuration }}",
            "trimtab up",
        ),
        _rule(
            "TrimtabDriftSevere",
            f"{corrected_p()} < {worst:g}",
            "0m",
            "severe",
            "{{ $labels.model }}: the sequential p-value is {{ $value }}",
            "trimtab decisions {{ $labels.model }}",
        ),
        _rule(
            "TrimtabImpactHigh",
            f"trimtab_impact_per_day >= {policy.impact.high:g}",
            "0m",
            "severe",
            f"{{{{ $labels.model }}}}: mistakes cost {{{{ $value | humanize }}}} {currency} a day more than usual",
            "trimtab status",
        ),
        _rule(
            "TrimtabReviewWaits",
            "trimtab_open_reviews > 0",
            "1m",
            "moderate",
            "{{ $labels.model }}: {{ $value }} reviews wait for an answer",
            "trimtab status",
        ),
        _rule(
            "TrimtabFewLabels",
            f"trimtab_window_label_coverage < {policy.alerts.label_coverage:g}",
            "0m",
            "moderate",
            "{{ $labels.model }}: {{ $value | humanizePercentage }} of the rows have a label",
            "trimtab status",
        ),
        _rule(
            "TrimtabStreamDoesNotFlow",
            "trimtab_stream_flows == 0",
            "1m",
            "moderate",
            "Stream {{ $labels.source }} does not flow",
            "trimtab status",
        ),
    ]
    if most_errors is not None:
        found.append(
            _rule(
                "TrimtabErrors",
                f"{error_rate('', '[5m]')} > {most_errors:g}",
                "1m",
                "severe",
                "{{ $labels.model }} {{ $labels.version }}: {{ $value | humanizePercentage }} of the rows failed",
                "trimtab status",
            )
        )
    if p99 is not None:
        found.append(
            _rule(
                "TrimtabSlow",
                f"{slow} > {p99 / MICROS['s']:g}",
                "5m",
                "moderate",
                "{{ $labels.model }} {{ $labels.version }}: the p99 is {{ $value | humanizeDuration }}",
                "trimtab status",
            )
        )
    for view, age in sorted(policy.features.freshness.items()):
        found.append(
            _rule(
                "TrimtabViewStale",
                f'trimtab_view_age_seconds{{view="{view}"}} > {age / MICROS["s"]:g}',
                "1m",
                "moderate",
                f"Values of view {view} are {{{{ $value | humanizeDuration }}}} old; the limit is {short(age)}",
                "trimtab features",
            )
        )
    return found


def _rule(name: str, expr: str, lasting: str, severity: str, summary: str, command: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "command": command},
    }
