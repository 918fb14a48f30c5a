"""Chromium, and a page that remembers what went wrong in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from trimtab.settings import read

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
SERIOUS = ("serious", "critical")
DRAWN_MS = 20_000


def chromium() -> str:
    """Return the path of Chromium; skip the test where there is none, and fail it where CI is set."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None:
        return found
    reason = f"no browser of {', '.join(NAMES)} is installed"
    if read().ci:
        pytest.fail(reason)
    pytest.skip(reason)


class Watched:
    """A page in a context of its own."""

    def __init__(self, browser: Browser, address: str, *, width: int = 1280, scheme: str = "light") -> None:
        self.address = address
        self.troubles: list[str] = []
        options: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        self._context = browser.new_context(**options, timezone_id="America/New_York")
        self.page: Page = self._context.new_page()
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("request", self._note_request)

    def open(self, path: str) -> Page:
        """Open a page and wait until its script has run."""
        answer = self.page.goto(self.address + path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self.page

    def drawn(self) -> None:
        """Scroll through the page until each of its charts is drawn."""
        for chart in self.page.locator("figure.chart:visible").all():
            chart.scroll_into_view_if_needed()
            chart.locator("svg").first.wait_for(timeout=DRAWN_MS)

    def violations(self) -> list[str]:
        """Return what axe-core finds serious, one line each."""
        # evaluated by the debugger: the content policy of the page allows no script of others
        self.page.evaluate(AXE.read_text(encoding="utf-8") + "\n;0")
        found = self.page.evaluate("axe.run().then(result => result.violations)")
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:200]}"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]

    def close(self) -> None:
        """Close the page, and fail on what went wrong in it."""
        self._context.close()
        assert not self.troubles, self.troubles

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text}")

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).hostname != "127.0.0.1":
            self.troubles.append(f"asks another machine: {request.url}")
