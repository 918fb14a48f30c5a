"""Writes docs/policy.md from the models of the policy: python scripts/policy_page.py"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trimtab.metric_catalog import FAIRNESS, METRICS, TASKS, Task, fitting, of_models
from trimtab.policy.key_reference import Key, SectionKeys, reference
from trimtab.policy.matrix import DEFAULT_MATRIX


def by_task(tasks: Mapping[str, tuple[Task, ...]] | None) -> str:
    """Return the names of metrics, by task."""
    names = {task: ", ".join(f"`{name}`" for name in fitting(task, tasks)) for task in TASKS}
    return "; ".join(f"for {of_models([task])} one of {those}" for task, those in names.items())


def notes() -> str:
    """Return what is to know of some metrics."""
    return "".join(f" `{name}` is {facts.note}." for name, facts in METRICS.items() if facts.note)


PAGE = Path(__file__).resolve().parents[1] / "docs" / "policy.md"
INTRODUCTION = f"""\
<!-- Made by scripts/policy_page.py from src/trimtab/policy/*.py; change the texts there. -->
# The policy: trimtab.yaml

The file that reviewers and auditors read. It says what data must look like, which gates a model must pass, how a new
model reaches traffic, what mistakes cost, and what happens when something drifts. Only `project` is required; every
other key has a default.

Errors name the file, the line and the key, what was expected, and the nearest valid name:

```text
trimtab.yaml:12: gates.accuracy.metric: unknown metric 'roc_acu'. Did you mean 'roc_auc'?
trimtab.yaml:15: gates.performance.p99: 10 has no unit; expected such as 10ms, 3h or 7d
```

For completion and checks while you type, let your editor read the schema:
`trimtab schema > trimtab.schema.json`, and put `# yaml-language-server: $schema=trimtab.schema.json` on the first line.

How values are written:

- a **duration** is a number and a unit: `10ms`, `30s`, `15m`, `3h`, `7d`, `2w`;
- a **share** is `1%` or `0.01`;
- a **size** is `500MB` or `2GiB`;
- a **rate** is an amount and a period: `500/day`, `2000/week`, `8/month` (a month has 30 days);
- a number of **standard deviations** is `0.1sd` or `0.1`;
- a **band of p-values** is `"> 0.05"`, `"0.01 - 0.05"` or `"< 0.01"`, in quotes;
- a **metric** is {by_task(None)}.{notes()}
- a **fairness metric** is {by_task(FAIRNESS)}.

Where the default is `none`, the meaning says what holds when the key is left out. A complete policy is
[examples/flights/trimtab.yaml](../examples/flights/trimtab.yaml).
"""
PLACES = {
    "checks.TABLE": "checks.TABLE, one for each table by name",
    "decide.matrix.NAME": "decide.matrix.NAME, one for each band; the name is yours",
    "environments.NAME": "environments.NAME, one for each environment; the name is yours",
}
AFTER = {
    "decide.matrix.NAME": "\nLeft out, the matrix is:\n\n```yaml\ndecide:\n  matrix:\n"
    + "".join(
        f'    {name}: {{ p: "{p}", low: {low}, medium: {medium}, high: {high} }}\n'
        for name, (p, low, medium, high) in ((name, band.values()) for name, band in DEFAULT_MATRIX.items())
    )
    + "```\n"
}


def page() -> str:
    """Return the whole page."""
    return INTRODUCTION + "".join(section(each) for each in reference())


def section(of: SectionKeys) -> str:
    """Return one section: heading, what it is for, a table of its keys."""
    heading = PLACES.get(of.path, of.path) or "The top level"
    rows = "".join(row(key) for key in of.keys)
    table = f"| Key | Written | Default | Meaning |\n|---|---|---|---|\n{rows}"
    return f"\n## {heading}\n\n{of.meaning}\n\n{table}{AFTER.get(of.path, '')}"


def row(key: Key) -> str:
    """Return one line of a table."""
    default = key.default if key.default in ("", "none", "required") else f"`{key.default}`"
    cells = (f"`{key.name}`", key.written or "section", default, key.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
