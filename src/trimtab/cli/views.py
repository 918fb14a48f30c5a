"""What the verbs show a person: tables and short lines, made with Rich."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.tree import Tree

from trimtab.app.ingestion.progress import progress_line
from trimtab.app.operations.promotion_requests import PromotionState, told
from trimtab.app.reports.comparison_result import Difference, VersionComparison
from trimtab.app.reports.decision_list import led_by
from trimtab.app.reports.label_waits import duration_text
from trimtab.app.reports.served_at import ServedAt
from trimtab.app.reports.summary import Summary
from trimtab.app.reports.version_words import GAIN, GAIN_NOTE, interval, measure_name, number, rule_words, tone
from trimtab.metric_catalog import METRICS, headline
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.records.stream_progress import StreamProgress
from trimtab.units import plural

TIPPING_REASONS = 2
SHOWN_NOTES = 3
TONE_STYLE = {"good": "green", "bad": "red", "": ""}
SHOWN_SHARES = ("0.5", "0.9")
ACTION_STYLE = {"monitor": "dim", "review": "yellow", "retrain": "magenta", "rollback": "red"}


def table(title: str, *columns: str) -> Table:
    """Return an empty table; columns that start with '>' are right-aligned."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return made


def counted(numbers: Mapping[str, int]) -> str:
    """Return such as: 1,200 taken, 3 repeated."""
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items())


def show_windows(console: Console, reports: Sequence[WindowReport]) -> None:
    """Print window reports, one line each."""
    if not reports:
        console.print("no window was ready")
        return
    made = table("Windows", "start", "version", "role", "stage", ">rows", ">labelled", ">quality", ">lost")
    for r in reports:
        made.add_row(
            f"{r.start:%Y-%m-%d %H:%M}",
            str(r.version),
            r.role,
            r.stage,
            f"{r.rows:,}",
            f"{r.coverage:.0%}",
            quality(r.metrics),
            _number(r.metrics.get("money_lost"), ",.0f"),
        )
    console.print(made)


def show_decisions(console: Console, decisions: Sequence[Decision]) -> None:
    """Print decisions with the reasons that tipped them; `--json` has all reasons."""
    if not decisions:
        console.print("no window was ready to be decided on")
        return
    made = table("Decisions", "window", "band", "impact", "action", "why")
    for d in decisions:
        style = ACTION_STYLE.get(d.action, "")
        action = f"[{style}]{d.action}[/]" if style else d.action
        made.add_row(f"{d.start:%Y-%m-%d}", d.band, d.impact, action, escape("; ".join(d.reasons[-TIPPING_REASONS:])))
    console.print(made)


def show_status(console: Console, found: dict[str, Any], *, first: str = "trimtab run") -> None:
    """Print the state of a project. first: the command that brings a model into service."""
    gateway = found["gateway"]
    console.print(f"[bold]{escape(found['project'])}[/]  gateway: {gateway['url'] if gateway else 'not running'}")
    prompts = found["prompt_gateway"]
    if prompts:
        console.print(f"prompts: {prompts['url']}/v1")
    troubles = {**(gateway["troubles"] if gateway else {}), **(prompts["troubles"] if prompts else {})}
    for name, trouble in troubles.items():
        console.print(f"[red]trouble[/] model {name}: {escape(trouble)}", soft_wrap=True)
    for one in found["ledger"]["breaks"]:
        console.print(f"[red]ledger[/] {escape(one['text'])}", soft_wrap=True)
    if found["workflows_trouble"]:
        console.print(f"[red]trouble[/] {escape(found['workflows_trouble'])}; see: trimtab doctor", soft_wrap=True)
    for dead in found["dead_workflows"]:
        console.print(f"[red]ended[/] {dead['id']} without a result: {escape(dead['reason'])}", soft_wrap=True)
        console.print(f"      trimtab workflows restart {dead['id']}", soft_wrap=True)
    for name, model in found["models"].items():
        made = table(f"Model {name}", "role", "bundle", ">traffic", "since")
        for a in model["serving"]:
            role = f"{a['role']}, champion before" if a["kept"] else a["role"]
            made.add_row(role, a["bundle"], f"{a['weight']:g} %", a["since"][:19].replace("T", " "))
        console.print(made if model["serving"] else f"model {name}: nothing is deployed yet; run: {first}")
        if (c := model["comparison"]) is not None:
            line = f"version {c['version']} compared with {c['against']}: {c['reason']}"
            console.print(escape(line), soft_wrap=True)
        _show_windows(console, model["windows"])
        if model["frozen"]:
            console.print(f"[red]frozen[/] {escape(model['frozen'])}", soft_wrap=True)
        for s in model["suspected"]:
            stretch = f"{s['start'][:16].replace('T', ' ')} to {s['end'][:16].replace('T', ' ')}"
            console.print(f"[yellow]suspected[/] rows from {stretch}: {escape(s['reason'])}", soft_wrap=True)
            console.print(
                f"       they train and judge no model; trimtab suspects let-in {s['start'][:16]} --reason '...'"
            )
        for d in model["open_reviews"]:
            console.print(f"[yellow]review[/] {d['id']}: {escape('; '.join(d['reasons']))}", soft_wrap=True)
            if d["escalated"]:
                console.print(f"       [red]escalated[/]: {escape(d['escalated'])}", soft_wrap=True)
            console.print(f"       trimtab approve {d['id']} --reason '...'   or   trimtab reject ...")
        _show_notes(console, model["to_look_at"])
        for d in model["decisions"][:3]:
            what = f"{d['action']} by {led_by(d['trigger'], d['reasons'])} ({d['band']}, {d['impact']} impact)"
            line = f"decided {d['start'][:10]}: {what}"
            console.print(f"{line} {escape('; '.join(d['reasons']))}", soft_wrap=True)
        _show_labels(console, model)
        money = model["money"]
        per_million = money["serving_per_million"]
        console.print(
            f"money: {money['training']:.4f} {money['currency']} for {_runs(money)}, {_serving(money)}"
            + (f" ({per_million:.3g} per 1,000,000 answers)" if per_million is not None else "")
        )
    for one in found["streams"]:
        console.print(escape(progress_line(msgspec.convert(one, StreamProgress))), soft_wrap=True)
    for view in found["views"]:
        if view["age_s"] is None:
            said = "no online values yet; run: trimtab features"
        else:
            said = f"values of {view['until'][:19].replace('T', ' ')} UTC, {duration_text(view['age_s'])} old"
        if view["limit_s"] is not None:
            said += f"; {duration_text(view['limit_s'])} {'is exceeded' if view['stale'] else 'is allowed'}"
        color = "yellow" if view["stale"] else "default"
        console.print(f"[{color}]view {escape(view['view'])}: {escape(said)}[/]", soft_wrap=True)
    for process in found["processes"]:
        since = process["start"][:16].replace("T", " ")
        console.print(f"{process['subject']}: {since}  {escape(process['reason'])}", soft_wrap=True)
    for kpi in found["kpis"]:
        newest = kpi["newest"]
        said = f"{newest['start'][:16].replace('T', ' ')}  {newest['reason']}" if newest else "no window is closed yet"
        console.print(f"KPI {kpi['stream']} of {kpi['model']}: {escape(said)}", soft_wrap=True)
    for each in found["triggers"]:
        if (last := each["last"]) is not None:
            ended = last["outcome"] or {"state": "waits for trimtab up", "outcome": last["event"]["reason"]}
            came = last["event"]["created_at"][:16].replace("T", " ")
            said = f"trigger {each['name']}: {came}  {ended['state']}: {ended['outcome']}"
            console.print(escape(said), soft_wrap=True)
    for channel in found["alerts"]["channels"]:
        if channel["reason"] is not None:
            said = f"channel {channel['channel']}: not reached, {channel['waiting']} wait: {channel['reason']}"
            console.print(escape(said), soft_wrap=True)
    if found["alerts"]["trouble"] is not None:
        console.print(f"alerts: {found['alerts']['trouble']}", soft_wrap=True)
    if (steering := found["steering"]) is not None:
        taken = {"taken in": steering["labels"], "unmatched": steering["unmatched_labels"]}
        console.print(f"labels: {counted(taken)}")
    if head := found["ledger"]["head"]:
        console.print(f"ledger: {plural(head['number'], 'entry', 'entries')}, head {head['hash']}", soft_wrap=True)
    counts = ", ".join(f"{kind} {entry['count']:,}" for kind, entry in found["records"].items())
    console.print(f"records: {counts}", soft_wrap=True)


def _show_labels(console: Console, model: Mapping[str, Any]) -> None:
    """Print how long labels take, and the estimate of the newest window before its labels."""
    delay, estimate = model["label_delay"], model["estimates"]
    if delay is not None and delay.get("labelled"):
        parts = [
            f"{float(share):.0%} not yet" if seconds is None else f"{float(share):.0%} after {duration_text(seconds)}"
            for share, seconds in _until(delay)
        ]
        said = ", ".join(parts)
        console.print(f"labels: {said} ({delay['labelled']:,} of {delay['rows']:,} predictions)", soft_wrap=True)
    if delay is not None and delay["hint"]:
        console.print(f"[yellow]hint[/]   {escape(delay['hint'])}", soft_wrap=True)
    if estimate is not None:
        figures = []
        for name, value in estimate["metrics"].items():
            past = estimate["past"].get(name)
            wrong = f" (off by {past['mean_absolute_error']:.4g} in {past['windows']:g} windows)" if past else ""
            figures.append(f"{name} {value:.4g}{wrong}")
        start = f"{estimate['start'][:16].replace('T', ' ')}, version {estimate['version']}"
        console.print(f"before labels, an estimate, no clearance: {start}: {', '.join(figures)}", soft_wrap=True)


def _until(delay: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    return [(share, seconds) for share, seconds in delay["seconds_until"].items() if share in SHOWN_SHARES]


def _show_notes(console: Console, notes: Sequence[dict[str, Any]]) -> None:
    """Print the newest reviews that only ask a person to look, and how many others there are."""
    for d in notes[-SHOWN_NOTES:][::-1]:
        console.print(f"[yellow]look[/]   {d['id']}: {escape('; '.join(d['reasons']))}", soft_wrap=True)
        console.print(f"       when you have: trimtab acknowledge {d['id']} --reason '...'", soft_wrap=True)
    if len(notes) > SHOWN_NOTES:
        console.print(f"       and {len(notes) - SHOWN_NOTES} older ones; all of them: trimtab status --json")


def show_revisions(console: Console, revisions: Sequence[Revision], *, first: str = "trimtab run") -> None:
    """Print what has served and why, two lines or more a revision; without one `first`, the command to begin with."""
    if not revisions:
        console.print(f"nothing has been deployed yet; run: {first}", soft_wrap=True)
        return
    for r in revisions:
        serves = ", ".join(f"{a.role} {a.version} ({a.weight:g} %)" for a in r.assignments)
        head = f"{r.number:>4}  {r.created_at:%Y-%m-%d %H:%M:%S}  {r.action:<9}  {serves}, by {escape(r.by)}"
        console.print(head, highlight=False, soft_wrap=True)
        console.print(Padding(escape(r.reason), (0, 0, 0, 6)), highlight=False, style="dim")
        if (origin := r.origin) is not None:
            approved = f", approved by {', '.join(origin.approvals)}" if origin.approvals else ""
            line = f"from {origin.environment}: {origin.bundle}, sha256 {origin.digest[:12]}{approved}"
            console.print(Padding(escape(line), (0, 0, 0, 6)), highlight=False, style="dim")


def show_served(console: Console, found: ServedAt) -> None:
    """Print what served at a moment, by role, with digests, and the revision that says so."""
    at = f"{found.at:%Y-%m-%d %H:%M:%S} UTC"
    if found.revision is None:
        console.print(f"nothing served for model '{found.model}' in {found.environment} at {at}", soft_wrap=True)
        return
    for each in found.serves:
        what = f"{each.role:<11} {each.bundle}  {each.weight:g} %  sha256 {each.digest[:12] or 'not known'}"
        console.print(escape(what), highlight=False, soft_wrap=True)
    show_revisions(console, [found.revision])


def show_promotions(console: Console, found: Sequence[PromotionState]) -> None:
    """Print requests to promote, newest first, with what became of them."""
    if not found:
        console.print("nothing has been asked for yet")
    for each in found:
        asked = each.request
        what = f"{asked.bundle} of {asked.environment}, {asked.digest[:12]}"
        head = f"{asked.id}  {asked.created_at:%Y-%m-%d %H:%M:%S}  {each.state:<8}  {what}, asked by {asked.by}"
        console.print(escape(head), highlight=False, soft_wrap=True)
        lines = [asked.reason, told(each), *(f"{a.verdict} by {a.by}: {a.reason}" for a in each.answers)]
        for line in lines:
            console.print(Padding(escape(line), (0, 0, 0, 6)), highlight=False, style="dim")


def _rated(window: Mapping[str, Any]) -> str:
    """Return the quality of a window; of turns of a prompt also of how many rated ones."""
    said = quality(window["metrics"])
    if headline(window["metrics"]) is None or "bad_rate" not in window["metrics"]:
        return said
    return f"{said} of {round(window['coverage'] * window['rows']):,} rated"


def _runs(money: Mapping[str, Any]) -> str:
    """Return how many runs were paid: trainings of a model, or evaluations and searches of a prompt."""
    evaluations, tunes = money["evaluations"], money["tunes"]
    if not evaluations and not tunes:
        return f"{plural(money['trainings'], 'training')} ({plural(money['runs'], 'fit')})"
    return plural(evaluations, "evaluation") + (f" and {plural(tunes, 'search', 'searches')}" if tunes else "")


def _serving(money: Mapping[str, Any]) -> str:
    """Return what answers cost: of a prompt the calls of its endpoint as `trimtab spend` counts them."""
    spend = money["spend"]
    if spend is None:
        return f"{money['serving']:.4f} for serving"
    since = "in all" if spend["since"] is None else f"since {spend['since'][:16].replace('T', ' ')} UTC"
    return f"{spend['serving']:.4g} for serving {since}, as `trimtab spend` counts it"


def _show_windows(console: Console, windows: Sequence[dict[str, Any]]) -> None:
    made = table("Last windows", "start", "version", "role", "stage", ">rows", ">labelled", ">quality", ">p99 ms")
    length = 19 if any(w["start"][17:19] != "00" or w["end"][17:19] != "00" for w in windows) else 16
    for w in sorted(windows, key=lambda w: (w["start"], w["stage"]), reverse=True):
        made.add_row(
            w["start"][:length].replace("T", " "),
            str(w["version"]),
            w["role"],
            w["stage"],
            f"{w['rows']:,}",
            f"{w['coverage']:.0%}",
            _rated(w),
            _number(w["metrics"].get("p99_ms"), ".2f"),
        )
    if made.row_count:
        console.print(made)


def show_lineage(console: Console, found: dict[str, Any]) -> None:
    """Print the lineage of a prediction as a tree."""
    tree = Tree(f"prediction [bold]{escape(found['prediction_id'])}[/]  label {_label(found['label'])}")
    for row in found["predictions"]:
        made = row["made_by"]
        what = "answered by" if row["served"] else "scored for comparison by"
        leaf = tree.add(f"{what} {row['role']} version {row['version']}: score {_number(row['score'], '.6f')}")
        leaf.add(f"at {row['event_time']}, latency {row['latency_us']} us, entities {row['entities']}")
        features = leaf.add("features as used")
        for name, value in row["features"].items():
            features.add(f"{name} = {_number(value, '.6g') if isinstance(value, float) else escape(str(value))}")
        leaf.add(
            f"revision {made['revision']['id']}: {made['revision']['action']} ({escape(made['revision']['reason'])})"
        )
        bundle = leaf.add(f"bundle {made['bundle']['id']}  sha256 {made['bundle']['digest'][:16]}")
        bundle.add("gates: " + ", ".join(f"{g['gate']} {g['verdict']}" for g in made["gates"]["results"]))
        run = bundle.add(f"run {made['run']['id']}  seed {made['run']['seed']}  params {made['run']['params']}")
        run.add(f"code {made['code']['git']}  environment {made['code']['environment'][:12]}")
        run.add(f"judged model  sha256 {made['run']['model_hash'][:16]}")
        if (again := made["refit"]) is not None:
            bundle.add(f"serves: fitted again on all rows by run {again['id']}  sha256 {again['model_hash'][:16]}")
        dataset = run.add(f"dataset {made['dataset']['id'][:16]}  {plural(made['dataset']['rows'], 'row')}")
        for view in made["views"]:
            dataset.add(f"feature view {view['id']}: {', '.join(view['features'])}")
        for version in made["tables"]:
            dataset.add(f"table {version['id']}  {plural(version['rows'], 'row')}  {version['content_hash'][:16]}")
    console.print(tree, soft_wrap=True)


def show_summary(console: Console, s: Summary, *, failed: int) -> None:
    """Print what the loop has done."""
    facts = table("What the loop did", "", ">")
    for name, value in (
        ("predictions served", f"{s.predictions:,}"),
        *((("of them not sent by a replay", f"{s.others.predictions:,}"),) if s.others.predictions else ()),
        ("requests failed", f"{failed:,}"),
        ("scored for comparison", f"{s.scored_for_comparison:,}"),
        ("labels", f"{s.labels:,}"),
        ("windows", f"{s.windows:,}"),
        (f"training, {s.currency}", f"{s.training_cost:.4f}"),
        (f"serving, {s.currency}", f"{s.serving_cost:.4f}"),
    ):
        facts.add_row(name, value)
    console.print(facts)
    cells = table("Decisions by cell of the matrix", "p-value band", "impact", "action", ">decisions")
    for (band, impact, action), count in sorted(s.cells.items()):
        cells.add_row(band, impact, f"[{ACTION_STYLE[action]}]{action}[/]", str(count))
    console.print(cells)
    if s.acted:
        show_decisions(console, s.acted)
    versions = table("Versions", ">version", "data up to", "gates", "what became of it")
    for v in s.versions:
        versions.add_row(str(v.version or "-"), f"{v.as_of:%Y-%m-%d}", v.gates, escape(v.fate))
    console.print(versions)
    _show_comparison(console, s)


def _show_comparison(console: Console, s: Summary) -> None:
    c = s.comparison
    if c is None:
        console.print("no labelled prediction can be compared with the first champion yet")
        return
    title = f"The loop and version {c.frozen_version}, never retrained, on the same {plural(c.rows, 'labelled row')}"
    made = table(title, "", ">the loop", ">never retrained")
    for name, value in c.loop.items():
        made.add_row(name, f"{value:.4f}", f"{c.frozen[name]:.4f}")
    saved = ""
    if c.loop_money_lost is not None and c.frozen_money_lost is not None:
        made.add_row(f"lost by mistakes, {s.currency}", f"{c.loop_money_lost:,.0f}", f"{c.frozen_money_lost:,.0f}")
        saved = f", {round(c.frozen_money_lost - c.loop_money_lost):+,d} {s.currency} saved"
    console.print(made)
    if s.others.predictions:
        console.print(f"left out of this comparison: {plural(s.others.predictions, 'prediction')} that no replay sent")
    if math.isnan(c.gain):
        console.print(f"{c.metric} is not defined on these rows, so it is not known which of the two is better")
        return
    alike = math.isclose(c.loop[c.metric], c.frozen[c.metric], rel_tol=1e-6)
    verdict = "does as well as" if alike else "beats" if c.gain > 0 else "does not beat"
    console.print(
        f"The loop {verdict} the model that was never retrained: its {c.metric} is {c.loop[c.metric]:.4f} against "
        f"{c.frozen[c.metric]:.4f} ({METRICS[c.metric].better} is better){saved}.",
        soft_wrap=True,
    )


def quality(metrics: Mapping[str, float]) -> str:
    """Return the metric that stands for a window's quality with its name, such as: rmse 22.51."""
    found = headline(metrics)
    return "-" if found is None else f"{found[0]} {found[1]:.4f}"


def _label(label: dict[str, Any] | None) -> str:
    if label is None:
        return "not known"
    said = f"{label['label']:g}" if label["class_name"] is None else label["class_name"]
    return f"{said}, known at {label['known_at']}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def show_comparison(console: Console, found: VersionComparison) -> None:
    """Print two versions compared: the sentence, what the rule says, measures and segments."""
    console.print(f"[bold]{escape(found.sentence)}[/]", soft_wrap=True)
    if found.rule is not None:
        said = f"{rule_words(found.rule)}. {found.rule.reason}"
        console.print(escape(said), soft_wrap=True)
    columns = (
        f">version {found.version}",
        f">version {found.against}",
        f">{GAIN}",
        f">interval {found.confidence:.0%}",
    )
    made = table(f"{found.labels:,} predictions of both in {found.windows} windows", "measure", *columns)
    for row in (*([found.money] if found.money else []), *found.measures):
        made.add_row(*_compared(row, measure_name(row, found.currency)))
    console.print(made)
    console.print(GAIN_NOTE, soft_wrap=True)
    if found.segments:
        what = f"{found.currency} lost a day" if found.money else found.metric
        made = table(f"Segments: {what}", "segment", ">rows", *columns)
        for segment in found.segments:
            name, *rest = _compared(segment.money or segment.metric, f"{segment.column} {segment.value}")
            made.add_row(name, f"{segment.rows:,}", *rest)
        console.print(made)


def _compared(row: Difference, name: str) -> list[str]:
    style, gain = TONE_STYLE[tone(row)], number(row.gain, row.unit, signed=True)
    return [
        escape(name),
        number(row.value, row.unit),
        number(row.against, row.unit),
        f"[{style}]{gain}[/]" if style else gain,
        interval(row),
    ]
