"""Every chart drawn by Chromium, under the content policy of the console's pages: no `eval`, no styles in elements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, sync_playwright

from kit.browsers import Watched, chromium
from kit.sample_charts import CHARTS
from trimtab.charts.browser_bundle import browser_bundle
from trimtab.charts.theme import DARK, LIGHT, css_variables

pytestmark = pytest.mark.browser

WINDOWS = 40
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:"
SCRIPT = """
const options = {actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: {disableDefaultStyle: true}};
for (const place of document.querySelectorAll("div[id]")) {
  const spec = document.querySelector(`script[data-of="${place.id}"]`).textContent;
  await window.vegaEmbed(place, JSON.parse(spec), options);
}
document.documentElement.dataset.ready = "";
"""
PLACES = """name => {
  const svg = document.getElementById(name).querySelector("svg"), edge = svg.getBoundingClientRect();
  const marks = ["symbol", "rect", "line", "area"].map(kind => `.role-mark.mark-${kind} path`).join();
  const boxes = [...svg.querySelectorAll(marks)].map(mark => mark.getBoundingClientRect()).filter(box => box.height);
  const from = side => boxes.map(box => Math.round(box[side] - edge.left));
  return {edge: edge.width, starts: from("left"), ends: from("right")};
}"""
"""Left and right ends of the marks of a chart in its drawing; rules across the whole plot are left out."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files of a folder without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of one page with all charts, wide as their element."""
    folder = tmp_path_factory.mktemp("charts")
    (folder / "vega.js").write_bytes(browser_bundle(folder / "cache").read_bytes())
    (folder / "draw.js").write_text(SCRIPT)
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {css_variables(DARK)} }} }}"
    (folder / "style.css").write_text(
        f":root {{ {css_variables(LIGHT)} }} {dark} body {{ margin: 8px; }} div {{ width: 100%; }}"
    )
    specs = {name: json.dumps(made(WINDOWS, None)) for name, made in CHARTS.items()}
    script = '<script type="application/json" data-of="{0}">{1}</script><div id="{0}"></div>'
    parts = "".join(script.format(name, spec) for name, spec in specs.items())
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    scripts = "".join(f'<script type="module" src="{name}.js"></script>' for name in ("vega", "draw"))
    icon = '<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css">'
    (folder / "index.html").write_text(f"<!doctype html>{head}{icon}<body>{parts}{scripts}</body>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    path = chromium()
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=path)
        yield launched
        launched.close()


@pytest.mark.parametrize(("width", "axis"), [(1280, 96), (390, 56)])
def test_charts_are_drawn_in_their_place_at_any_width_without_a_message(
    browser: Browser, address: str, width: int, axis: int
) -> None:
    watched = Watched(browser, address, width=width)
    page = watched.open("/index.html")
    for name in CHARTS:
        if name == "model_panels":  # of a fixed width: for files
            continue
        found = page.evaluate(PLACES, name)
        starts, ends = found["starts"], found["ends"]
        assert max(ends) - min(starts) > found["edge"] / 4, f"{name}: all marks lie at one place"
        assert max(ends) <= found["edge"] + 1, f"{name}: cut at the right"
        if name != "sparkline":
            assert min(starts) >= axis - 12, f"{name}: marks cover the axis"
            assert found["edge"] <= width
    watched.close()


def test_colours_follow_the_scheme_of_the_reader(browser: Browser, address: str) -> None:
    for scheme, palette in (("light", LIGHT), ("dark", DARK)):
        watched = Watched(browser, address, scheme=scheme)
        page = watched.open("/index.html")
        colours = page.evaluate(
            "[...document.querySelectorAll('#loss_panel .mark-symbol path')].map(m => getComputedStyle(m).fill)"
        )
        red, green, blue = (int(palette.champion[n : n + 2], 16) for n in (1, 3, 5))
        assert set(colours) == {f"rgb({red}, {green}, {blue})"}
        watched.close()
