"""python -m benchmarks.console PROJECT: pages in Chromium, memory of the console, the gateway's p99 beside 50 viewers.

PROJECT is a folder with a replayed project, such as one of `make demo` (the default, demo/), or with the records of
10,000 windows and 50 models, which `python -m benchmarks.console.large_project PROJECT` makes. Paint and drawing are
those of a browser without cache, in a new context each time; the first load of each page comes after a restart of the
console, so nothing that it keeps helps.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.console.processes import console
from benchmarks.console.viewers import compare_gateway
from trimtab.app.project.workspace import open_workspace
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import latest

CHROMIUM = "/usr/bin/chromium"
LOADS = 4
DRAWN_MS = 60_000
PAINT_BUDGET_S, DRAWN_BUDGET_S, MEMORY_BUDGET_MB = 0.6, 1.5, 120.0


class Load(NamedTuple):
    """One load of a page. Times in seconds; kilobytes as sent."""

    paint: float
    drawn: float
    html_kb: float
    all_kb: float
    nodes: int


def pages(project: Path) -> dict[str, str]:
    """Return the addresses of all pages of a project, by what they show."""
    metadata = open_workspace(project).metadata
    decision, run = latest(metadata, Decision), latest(metadata, Run)
    window = latest(metadata, WindowReport, stage="matured")
    model = window.model if window else ""
    found = {"Loop": "/", "Models": "/models", "Model": f"/models/{model}"}
    if window is not None:
        found["Window"] = f"/models/{model}/windows/{window.start:%Y-%m-%dT%H:%MZ}?version={window.version}"
    found["Decisions"] = "/decisions"
    if decision is not None:
        found["Decision"] = f"/models/{decision.model}/decisions/{decision.number}"
    found |= {"Compare": f"/models/{model}/compare", "Backtest": f"/models/{model}/backtest", "Data": "/data"}
    found["Experiments"] = "/experiments"
    if run is not None:
        found |= {"Run": f"/experiments/{run.id}", "Lineage": f"/lineage?id={run.id}"}
    return found | {"Cost": "/cost", "System": "/system"}


def load(browser: Browser, address: str) -> Load:
    """Open a page in a new context and measure it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    visible = page.locator("figure.chart").count()
    if visible:
        page.locator("figure.chart[data-drawn]").first.wait_for(state="attached", timeout=DRAWN_MS)
        _wait_for_all(page)
    found = page.evaluate(
        """(() => {
          const paint = performance.getEntriesByName('first-contentful-paint')[0];
          const sent = performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'));
          return [paint ? paint.startTime : NaN, Math.max(window.drawnAt ?? 0, paint ? paint.startTime : 0),
            performance.getEntriesByType('navigation')[0].transferSize,
            sent.reduce((sum, each) => sum + each.transferSize, 0), document.querySelectorAll('svg *').length];
        })()"""
    )
    context.close()
    paint, drawn, html, total, nodes = found
    return Load(paint / 1000, drawn / 1000, html / 1000, total / 1000, int(nodes))


def _wait_for_all(page: Page) -> None:
    """Wait until the charts in view are drawn; those further down are drawn when a reader comes near."""
    page.evaluate(
        """new Promise((done) => {
          const look = () => {
            const charts = [...document.querySelectorAll('figure.chart')].filter((each) => {
              const box = each.getBoundingClientRect();
              return box.width > 0 && box.top < innerHeight && box.bottom > 0;
            });
            if (charts.every((each) => each.dataset.drawn)) { window.drawnAt ??= performance.now(); done(); }
            else requestAnimationFrame(look);
          };
          look();
        })"""
    )


def main() -> int:
    """Print the tables; return 1 when a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path, nargs="?", default=Path("demo"))
    parser.add_argument("--loads", type=int, default=LOADS)
    parser.add_argument("--no-viewers", action="store_true", help="leave the gateway out")
    asked = parser.parse_args()
    over = 0
    print(f"{'page':<12} {'paint s':>16} {'drawn s':>16} {'HTML kB':>8} {'all kB':>7} {'SVG nodes':>9}")
    with console(asked.project) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        load(browser, f"{server.url}/models")  # the browser's own start, and the script of charts
        for name, path in pages(asked.project).items():
            loads = [load(browser, server.url + path) for _ in range(asked.loads)]
            paints, drawn = [each.paint for each in loads], [each.drawn for each in loads]
            first = loads[0]
            over += statistics.median(paints) > PAINT_BUDGET_S or statistics.median(drawn) > DRAWN_BUDGET_S
            print(
                f"{name:<12} {_spread(paints):>16} {_spread(drawn):>16} "
                f"{first.html_kb:>8.1f} {first.all_kb:>7.0f} {first.nodes:>9}"
            )
        browser.close()
        memory = server.memory_mb()
        over += memory > MEMORY_BUDGET_MB
        print(f"memory of the console: {memory:.0f} MB (at most {MEMORY_BUDGET_MB:.0f})")
    if not asked.no_viewers:
        over += compare_gateway(asked.project)
    return int(over > 0)


def _spread(values: list[float]) -> str:
    """Return first load, and median of all."""
    return f"{values[0]:.2f} / {statistics.median(values):.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
