"""The summary of a pipeline as Markdown for job summaries and pull requests, and as lines for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from trimtab.app.delivery.delivery_summary import DeliverySummary, MetricLine, ModelSummary
from trimtab.records.gate_reports import GateResult
from trimtab.units import plural

LIMIT = 60_000
"""Characters of the Markdown: a comment of GitHub holds 65,536, and a table row is not cut."""
MARKS = {"pass": "✅", "passed": "✅", "warn": "⚠️", "incomplete": "⚠️", "fail": "❌", "failed": "❌"}
SPECIAL = re.compile(r"([\\`*\[\]~|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""Characters of markup; an underscore within a word is none."""
RUN_ID = 8
"""Characters of the ids of runs and training sets that are shown."""


def marker(project: str, environment: str) -> str:
    """Return the comment that the Markdown begins with, by which a pull request's comment is found again.

    >>> marker("late -- flights", "local")
    '<!-- trimtab summary: late-flights local -->'
    """
    plain = [re.sub(r"[^\w.]+", "-", name).strip("-") for name in (project, environment)]
    return f"<!-- trimtab summary: {' '.join(plain)} -->"


def markdown(found: DeliverySummary) -> str:
    """Return the summary as GitHub-flavoured Markdown of at most about LIMIT characters: models that do not fit are
    named in the last line."""
    parts = ["\n".join(_head(found)), _section("Stages", _stages(found)), _section("Data", _data(found))]
    size, left_out = sum(map(len, parts)), []
    models = []
    for each in found.models:
        text = "\n".join(_model(each, found.currency))
        if size + len(text) > LIMIT:
            left_out.append(each.model)
            continue
        size += len(text)
        models.append(text)
    parts = [parts[0], *models, parts[2], parts[1]]
    if left_out:
        parts.append(f"{plural(len(left_out), 'more model')}: {', '.join(map(plain, left_out))[: LIMIT // 20]}\n")
    return "\n".join(filter(None, parts))


def unreadable(error: str, environment: str) -> str:
    """Return the Markdown of a project that cannot be opened. It has the marker of no project."""
    return "\n".join(
        [
            marker("unreadable", environment),
            f"## {MARKS['failed']} The project cannot be opened",
            "",
            *_problem(error),
            "",
        ]
    )


def lines(found: DeliverySummary) -> Iterator[str]:
    """Yield the summary as lines of plain text."""
    yield f"{found.project} ({found.environment}): {found.verdict}. {found.sentence}"
    for problem in found.problems:
        yield f"problem   {problem}"
    for table in found.tables:
        batch = f"; batch {table.refused} refused" if table.refused else ""
        yield f"data      {table.table}: {table.rows:,} rows, {table.verdict or 'not checked'}: {table.reason}{batch}"
    for model in found.models:
        if model.dataset is not None:
            yield f"features  {model.model}: {_training_set(model)}"
        if model.run is not None:
            made = f"run {model.run[:RUN_ID]} of code {model.code_version[:12]}"
            yield f"train     {model.model}: {made}, {_used(model, found.currency)}"
            for line in model.metrics:
                yield f"          {line.metric} {_number(line.value)}{_compared(line)}"
        for gate in model.gates:
            yield f"gate      {model.model}: {gate.verdict:<4}  {gate.gate}: {gate.reason}"
        yield f"next      {model.model}: {model.next}"
    for stage in found.stages:
        of = f" {stage.model}" if stage.model else ""
        end = "failed" if stage.error else "passed"
        yield f"stage     {stage.stage}{of}: {end} after {stage.seconds:.1f} s, {_cost(stage.cost)} {found.currency}"
    for link in dict.fromkeys(link for model in found.models for link in model.links.values()):
        yield f"see       {link}"


def plain(text: str) -> str:
    """Return text for a cell of a table: no HTML, no markup, on one line."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", text).replace("\n", "<br>")


def _head(found: DeliverySummary) -> Iterator[str]:
    yield marker(found.project, found.environment)
    yield f"## {MARKS[found.verdict]} {plain(found.project)}: {found.verdict}"
    yield ""
    yield f"{plain(found.sentence)} Environment: {plain(found.environment)}."
    yield ""
    for problem in found.problems:
        yield from _problem(problem)
    if found.problems:
        yield ""


def _problem(text: str) -> Iterator[str]:
    """Yield an item of a list: the first line, and further ones as a block of code."""
    first, _, rest = text.partition("\n")
    yield f"- {plain(first)}"
    if rest:
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", rest))])
        yield from (f"  {line}" for line in (fence, *rest.splitlines(), fence))


def _model(model: ModelSummary, currency: str) -> Iterator[str]:
    yield f"### {plain(model.model)} ({model.task})"
    yield ""
    yield f"**Next:** {plain(model.next)}"
    yield ""
    if model.dataset is not None:
        yield f"- training set `{model.dataset[:12]}`: {_training_set(model)}"
    if model.run is not None and model.trained is not None:
        made = f"{model.trained:%Y-%m-%d %H:%M} UTC, code {plain(model.code_version[:12])}"
        yield f"- run `{model.run[:RUN_ID]}` of {made}: {_used(model, currency)}"
        params = ", ".join(f"{name} = {value}" for name, value in model.params.items())
        yield f"- parameters: {plain(params) or 'none'}"
    serving = ", ".join(f"{each.bundle} ({each.role}, {each.weight:g} %)" for each in model.serving)
    yield f"- serves: {plain(serving) or 'nothing yet'}"
    if model.links:
        yield "- see: " + ", ".join(f"[{name}]({link})" for name, link in model.links.items())
    yield ""
    if model.metrics:
        yield from _metric_table(model.metrics)
    if model.gates:
        yield from _gate_table(model.gates)


def _metric_table(metrics: Sequence[MetricLine]) -> Iterator[str]:
    compared = [line for line in metrics if line.other is not None]
    if not compared:
        yield from _table(("Metric", "Run"), ((line.metric, _number(line.value)) for line in metrics))
        return
    same = f"{plural(max(line.rows for line in compared), 'row')}"
    head = ("Metric", "Run, holdout", f"Run, {same}", f"{compared[0].other}, same rows", "Gain", "Interval of the gain")
    rows = (
        (
            line.metric,
            _number(line.value),
            _number(line.own_value),
            _number(line.other_value),
            _number(line.gain, "+"),
            "" if line.other is None else _interval(line),
        )
        for line in metrics
    )
    yield from _table(head, rows)


def _gate_table(gates: Sequence[GateResult]) -> Iterator[str]:
    rows = (
        (
            f"{MARKS[gate.verdict]} {gate.verdict}",
            gate.gate,
            gate.metric,
            _number(gate.value),
            "" if gate.low is None or gate.high is None else f"{_number(gate.low)} to {_number(gate.high)}",
            _number(gate.threshold),
            gate.reason,
        )
        for gate in gates
    )
    yield from _table(("Verdict", "Gate", "Measured", "Value", "Interval", "Limit", "Why"), rows)


def _data(found: DeliverySummary) -> Iterator[str]:
    rows = (
        (
            table.version or table.table,
            f"{table.rows:,}",
            f"{table.added:,}",
            f"{MARKS[table.verdict]} {table.verdict}" if table.verdict else "",
            table.reason + (f"; batch {table.refused} was refused" if table.refused else ""),
        )
        for table in found.tables
    )
    yield from _table(("Table", "Rows", "In the newest batch", "Checks", "Why"), rows)


def _stages(found: DeliverySummary) -> Iterator[str]:
    rows = (
        (
            stage.stage,
            stage.model or "",
            f"{MARKS['fail']} failed" if stage.error else f"{MARKS['pass']} passed",
            f"{stage.seconds:.1f} s",
            f"{stage.cpu_seconds:.1f} s",
            f"{_cost(stage.cost)} {found.currency}",
        )
        for stage in found.stages
    )
    yield from _table(("Stage", "Model", "Result", "Time", "CPU time", "Cost"), rows)


def _section(title: str, body: Iterable[str]) -> str:
    text = "\n".join(body).rstrip()
    return f"### {title}\n\n{text}\n" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table with an empty line after it; nothing without rows."""
    body = ["| " + " | ".join(map(plain, row)) + " |" for row in rows]
    if body:
        yield "| " + " | ".join(map(plain, head)) + " |"
        yield "|" + "---|" * len(head)
        yield from (*body, "")


def _training_set(model: ModelSummary) -> str:
    known = "" if model.as_of is None else f", known by {model.as_of:%Y-%m-%d %H:%M} UTC"
    return f"{model.rows:,} rows, {model.labelled:,} labelled, {plural(model.features, 'feature')}{known}"


def _used(model: ModelSummary, currency: str) -> str:
    return f"{model.seconds:.1f} s, {model.cpu_seconds:.1f} CPU s, {_cost(model.cost)} {currency}"


def _compared(line: MetricLine) -> str:
    if line.other is None:
        return ""
    both = f"{_number(line.own_value)}, {line.other} {_number(line.other_value)}"
    gain = f"gain {_number(line.gain, '+')} ({_interval(line)})"
    return f"; on {plural(line.rows, 'row')} that neither was fitted on {both}, {gain}"


def _interval(line: MetricLine) -> str:
    if line.low is None or line.high is None:
        return "not defined"
    of = "" if line.confidence is None else f" at {line.confidence:.0%}"
    return f"{_number(line.low, '+')} to {_number(line.high, '+')}{of}"


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.4g}"


def _cost(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:,.2f}"
