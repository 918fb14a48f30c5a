"""A dashboard for Grafana on the metrics of gateway and loop, with alerting rules for Prometheus. Pure.

The dashboard is of schema version 39 (Grafana 11 and later). Its data source, models and versions are variables; limits
are those of the policy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.policy.model import Policy
from trimtab.targets.prometheus_rules import corrected_p, error_rate, rules_text
from trimtab.units import MICROS

SCHEMA_VERSION = 39
FOLDER = "deploy/grafana"
DASHBOARD, RULES = "trimtab-dashboard.json", "trimtab-rules.yaml"
CURRENCIES = frozenset(
    {"USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "INR", "BRL", "SEK", "NOK", "DKK", "PLN", "CZK"}
)
"""Those that Grafana has a unit for; another one is written behind the number."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'model=~"$model", version=~"$version"'
RATE = "[$__rate_interval]"
GREEN, YELLOW, RED = "green", "#b7791f", "red"
WIDTH, HEIGHT = 8, 8
COLUMNS = 24

Limits = Sequence[tuple[float, str]]
"""Values from which a colour holds; drawn as lines."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture. queries: PromQL and the legend of its lines. below: the limits hold from there downwards."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    limits: tuple[tuple[float, str], ...] = ()
    below: bool = False
    logarithmic: bool = False
    kind: str = "timeseries"
    text: str = ""


def files(policy: Policy) -> dict[str, str]:
    """Return the text of each file by its path in the project."""
    return {
        f"{FOLDER}/{DASHBOARD}": json.dumps(dashboard(policy), indent=2) + "\n",
        f"{FOLDER}/{RULES}": rules_text(policy),
    }


def dashboard(policy: Policy) -> dict[str, Any]:
    """Return the dashboard, as Grafana imports and provisions it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in _rows(policy):
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
                "panels": [],
            }
        )
        for place, panel in enumerate(row):
            line, column = divmod(place, COLUMNS // WIDTH)
            panels.append(_panel(panel, len(panels) + 1, column * WIDTH, top + 1 + line * HEIGHT))
        top += 1 + HEIGHT * -(-len(row) // (COLUMNS // WIDTH))
    return {
        "uid": f"trimtab-{policy.project}"[:40],
        "title": f"Trimtab: {policy.project}",
        "tags": ["trimtab"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "utc",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": [_revisions()]},
        "links": _links(policy),
        "panels": panels,
    }


def _rows(policy: Policy) -> list[tuple[str, list[Panel]]]:
    return [
        ("Traffic", _traffic()),
        ("Latency", _latency(policy)),
        ("Errors", _errors(policy)),
        ("Confidence", _confidence()),
        ("Drift", _drift(policy)),
        ("Money", _money(policy)),
        ("Loop", _loop(policy)),
    ]


def _traffic() -> list[Panel]:
    by = "sum by (model, version, role)"
    return [
        Panel(
            title="Requests by status",
            queries=((f"sum by (protocol, status) (rate(trimtab_requests_total{RATE}))", "{{protocol}} {{status}}"),),
            unit="reqps",
        ),
        Panel(
            title="Rows answered",
            queries=(
                (
                    f'{by} (rate(trimtab_predictions_total{{{CHOSEN}, served="true"}}{RATE}))',
                    "{{model}} {{version}} {{role}}",
                ),
            ),
            unit="rows/s",
            text="Rows whose score was sent, by the version that scored them.",
        ),
        Panel(
            title="Rows scored for comparison",
            queries=(
                (
                    f'{by} (rate(trimtab_predictions_total{{{CHOSEN}, served="false"}}{RATE}))',
                    "{{model}} {{version}} {{role}}",
                ),
                (f"rate(trimtab_comparison_dropped_rows_total{RATE})", "left out for speed"),
            ),
            unit="rows/s",
        ),
        Panel(
            title="Under way",
            queries=(("trimtab_requests_in_progress", "requests"), ("trimtab_rows_waiting", "rows that wait")),
        ),
        Panel(
            title="Rows scored together",
            queries=((f"rate(trimtab_turn_rows_sum{RATE}) / rate(trimtab_turn_rows_count{RATE})", "mean"),),
        ),
        Panel(title="Labels", queries=((f"rate(trimtab_labels_total{RATE})", "labels"),), unit="rows/s"),
    ]


def _latency(policy: Policy) -> list[Panel]:
    limit = policy.rollout.rollback_when.p99
    limits = ((limit / MICROS["s"], RED),) if limit else ()

    def quantiles(metric: str, by: str, legend: str, where: str = "") -> tuple[tuple[str, str], ...]:
        rate = f"sum by (le, {by}) (rate({metric}_bucket{where}{RATE}))"
        return tuple((f"histogram_quantile({q}, {rate})", f"{legend} p{q * 100:g}") for q in (0.5, 0.99))

    where = f'{{{CHOSEN}, served="true"}}'
    return [
        Panel(
            title="Scores, by version",
            queries=quantiles("trimtab_prediction_latency_seconds", "model, version", "{{model}} {{version}}", where),
            unit="s",
            limits=limits,
            text="From a request's arrival to its scores. The line is rollout.rollback_when.p99.",
        ),
        Panel(
            title="Answers, by protocol",
            queries=quantiles("trimtab_request_duration_seconds", "protocol", "{{protocol}}"),
            unit="s",
        ),
        Panel(
            title="Log behind answers",
            queries=(
                (f"histogram_quantile(0.99, sum by (le) (rate(trimtab_log_lag_seconds_bucket{RATE})))", "p99"),
                ("trimtab_log_lag_newest_seconds", "newest"),
            ),
            unit="s",
        ),
    ]


def _errors(policy: Policy) -> list[Panel]:
    limit = policy.rollout.rollback_when.error_rate
    return [
        Panel(
            title="Rows without a usable score",
            queries=((error_rate(CHOSEN, RATE), "{{model}} {{version}}"),),
            unit="percentunit",
            limits=((limit, RED),) if limit else (),
            text="The line is rollout.rollback_when.error_rate.",
        ),
        Panel(
            title="Answered by a fallback",
            queries=(
                (
                    f'sum by (model, reason) (rate(trimtab_fallbacks_total{{model=~"$model"}}{RATE}))',
                    "{{model}}: {{reason}}",
                ),
            ),
            unit="rows/s",
        ),
        Panel(
            title="Refused",
            queries=(
                (f"sum by (status) (rate(trimtab_refused_requests_total{RATE}))", "{{status}}"),
                (f"rate(trimtab_shed_requests_total{RATE})", "too many waiting"),
            ),
            unit="reqps",
        ),
        Panel(
            title="Rows with unexpected values",
            queries=(
                (
                    f'rate(trimtab_unexpected_rows_total{{model=~"$model", column=""}}{RATE}) / ignoring(column) '
                    f'rate(trimtab_checked_rows_total{{model=~"$model"}}{RATE})',
                    "{{model}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Answered, not logged",
            queries=((f"increase(trimtab_log_gap_rows_total{RATE})", "rows"),),
            limits=((1, RED),),
        ),
        Panel(
            title="Workers that do not serve the newest revision",
            queries=(('trimtab_models_in_trouble{model=~"$model"}', "{{model}}"),),
            limits=((1, RED),),
        ),
    ]


def _confidence() -> list[Panel]:
    rate = f'sum by (le, model, version) (rate(trimtab_prediction_score_bucket{{{CHOSEN}, served="true"}}{RATE}))'
    return [
        Panel(
            title="Scores",
            queries=tuple(
                (f"histogram_quantile({q}, {rate})", f"{{{{model}}}} {{{{version}}}} p{q * 100:g}")
                for q in (0.1, 0.5, 0.9)
            ),
            text="Quantiles of what the model gave.",
        ),
        Panel(
            title="Same score in a row",
            queries=((f"trimtab_prediction_identical_run{{{CHOSEN}}}", "{{model}} {{version}} {{role}}"),),
        ),
        Panel(
            title="Scores that are no number",
            queries=(
                (
                    f"sum by (model, version) (rate(trimtab_prediction_non_finite_total{{{CHOSEN}}}{RATE}))",
                    "{{model}} {{version}}",
                ),
            ),
            unit="rows/s",
        ),
    ]


def _drift(policy: Policy) -> list[Panel]:
    bands = sorted((band.p[1] for band in policy.decide.matrix.root.values()), reverse=True)[1:]
    colours = [YELLOW] * (len(bands) - 1) + [RED] if bands else []
    return [
        Panel(
            title="Sequential p-values",
            queries=(
                (corrected_p('{model=~"$model"}'), "{{model}}, as decisions use it"),
                ('trimtab_sequential_p{model=~"$model"}', "{{model}} {{kind}}"),
            ),
            limits=tuple(zip(bands, colours, strict=True)),
            below=True,
            logarithmic=True,
            text="Of the newest window with mature labels: concept is mistakes, data inputs, prediction scores. "
            "A decision uses the least, times how many were measured; the lines are the bands of decide.matrix.",
        ),
        Panel(
            title="Loss",
            queries=(('trimtab_window_loss{model=~"$model"}', "{{model}} {{metric}}"),),
            text="Of the champion in that window.",
        ),
        Panel(
            title="Labelled share of the rows",
            queries=(('trimtab_window_label_coverage{model=~"$model"}', "{{model}}"),),
            unit="percentunit",
            limits=((policy.alerts.label_coverage, RED),),
            below=True,
        ),
        Panel(
            title="Age of online values",
            queries=(("trimtab_view_age_seconds", "{{view}}"),),
            unit="s",
            limits=tuple((age / MICROS["s"], RED) for age in sorted(set(policy.features.freshness.values()))),
        ),
    ]


def _money(policy: Policy) -> list[Panel]:
    currency = policy.impact.currency
    unit = f"currency{currency}" if currency in CURRENCIES else f"suffix: {currency}"
    return [
        Panel(
            title="Lost in the window",
            queries=(('trimtab_window_money_lost{model=~"$model"}', "{{model}}"),),
            unit=unit,
            text="What the champion's mistakes cost in the newest window with mature labels.",
        ),
        Panel(
            title="A day beyond what is usual",
            queries=(('trimtab_impact_per_day{model=~"$model"}', "{{model}}"),),
            unit=unit,
            limits=((policy.impact.medium, YELLOW), (policy.impact.high, RED)),
            text="The lines are impact.medium and impact.high.",
        ),
    ]


def _loop(policy: Policy) -> list[Panel]:
    return [
        Panel(
            title="Last step of the loop",
            queries=(("time() - trimtab_loop_last_step_timestamp_seconds", "ago"),),
            unit="s",
            limits=((policy.alerts.loop_silence / MICROS["s"], RED),),
        ),
        Panel(
            title="Newest window with mature labels",
            queries=(('1000 * trimtab_window_end_timestamp_seconds{model=~"$model"}', "{{model}}"),),
            unit="dateTimeAsIso",
            kind="stat",
            text="The event time at which it ends.",
        ),
        Panel(
            title="Reviews that wait",
            queries=(('trimtab_open_reviews{model=~"$model"}', "{{model}}"),),
            limits=((1, YELLOW),),
        ),
        Panel(
            title="Decisions",
            queries=(
                (
                    'increase(trimtab_decisions_total{model=~"$model", action!="monitor"}[$__interval])',
                    "{{model}} {{action}}",
                ),
            ),
        ),
        Panel(
            title="Streams",
            queries=(
                ("trimtab_stream_lag_messages", "{{source}} behind"),
                (f"rate(trimtab_stream_rows_total{RATE})", "{{source}} rows a second"),
                ("1 - trimtab_stream_flows", "{{source}} does not flow"),
            ),
        ),
        Panel(
            title="Machine",
            queries=(
                (f"rate(trimtab_cpu_seconds_total{RATE})", "processors"),
                ("trimtab_workers", "workers"),
                ("trimtab_resident_memory_bytes / 1e9", "GB of memory"),
            ),
        ),
    ]


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    limits = sorted(panel.limits)
    lowest = limits[0][1] if limits and panel.below else GREEN
    steps: list[dict[str, Any]] = [{"color": lowest, "value": None}]
    for place, (value, colour) in enumerate(limits):
        above = limits[place + 1][1] if place + 1 < len(limits) else GREEN
        steps.append({"color": above if panel.below else colour, "value": value})
    custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 0, "showPoints": "auto", "spanNulls": False}
    custom["thresholdsStyle"] = {"mode": "line" if limits else "off"}
    if panel.logarithmic:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    options = (
        {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
        if panel.kind == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    )
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": custom if panel.kind == "timeseries" else {},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expr, "legendFormat": legend, "range": True}
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _variables() -> list[dict[str, Any]]:
    def of_label(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 3,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }

    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
        of_label("model", "label_values(trimtab_predictions_total, model)"),
        of_label("version", 'label_values(trimtab_predictions_total{model=~"$model"}, version)'),
    ]


def _revisions() -> dict[str, Any]:
    """Return the marks of times at which something else began to serve."""
    return {
        "name": "Revisions",
        "enable": True,
        "datasource": SOURCE,
        "expr": 'changes(trimtab_revision_number{model=~"$model"}[1m]) > 0',
        "step": "60s",
        "titleFormat": "new revision of {{model}}",
        "textFormat": "trimtab history --model {{model}}",
        "iconColor": "#0b5cad",
    }


def _links(policy: Policy) -> list[dict[str, Any]]:
    if policy.console.url is None:
        return []
    return [{"type": "link", "title": "Console", "url": policy.console.url, "targetBlank": True}]
