"""Takes the pictures of docs/images from a replayed project: python -m scripts.pictures PROJECT [PAGE ...].

Each page of the console is taken in light and dark, at 1280 px, with the data of the project (`make demo` makes one).
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.console.__main__ import CHROMIUM, pages
from benchmarks.console.processes import console
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLOURS = 64
TALLEST = 1600
"""Pixels of a picture; what is below is left out."""
LATEST_MS = 120_000
"""For the parts of a page that come later."""


def main(project: Path, wanted: list[str]) -> None:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with console(project) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            for name, address in pages(project).items():
                if wanted and name not in wanted:
                    continue
                page.goto(server.url + address)
                page.wait_for_selector("html[data-ready]", state="attached")
                for part in page.locator(".later").all():
                    part.and_(page.locator("[data-read]")).wait_for(state="attached", timeout=LATEST_MS)
                for chart in page.locator("figure.chart:visible").all():
                    chart.scroll_into_view_if_needed()
                    chart.and_(page.locator("[data-drawn]")).wait_for(state="attached")
                page.evaluate("scrollTo(0, 0)")
                height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
                path = IMAGES / f"console-{name.lower()}-{scheme}.png"
                page.screenshot(
                    path=path,
                    clip={"x": 0, "y": 0, "width": 1280, "height": height},
                    full_page=True,
                )
                with Image.open(path) as taken:  # a fifth of the bytes
                    taken.convert("RGB").quantize(COLOURS).save(path, optimize=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
