"""Sends one message by Apprise, in a process of its own, so that a channel that hangs can be ended.

The order comes on standard input, since it holds secrets; the outcome goes to standard output. What Apprise logs stays
in this process, but for the reason of a failure.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.lazy_library import LazyLibrary
from trimtab.records.alert_records import Severity

if TYPE_CHECKING:
    import apprise
else:
    apprise = LazyLibrary("apprise")


class SendOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A message and where it goes. alerts: the same as plain values, for webhooks."""

    url: str
    title: str
    text: str
    html: str
    markdown: str
    severity: Severity
    alerts: list[dict[str, Any]] = []


class SendOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order. reason: why it was not sent; it may hold parts of the URL."""

    sent: bool
    reason: str = ""
    understood: bool = True
    """False if Apprise knows no service of this URL."""


class _Kept(logging.Handler):
    """Keeps what Apprise logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))

    def reason(self) -> str:
        """Return the warnings, and what the network said."""
        said = [text for level, text in self.lines if level >= logging.WARNING or "Exception" in text]
        return "; ".join(dict.fromkeys(" ".join(text.split()).rstrip(".") for text in said))


def deliver(order: SendOrder, *, dry: bool = False) -> SendOutcome:
    """Send a message; with `dry` only see whether Apprise knows the URL."""
    kept = _Kept()
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [kept], False
    logger.setLevel(logging.DEBUG)
    asset = apprise.AppriseAsset(
        app_id="Trimtab",
        app_desc="Trimtab",
        app_url="",
        image_url_mask=None,
        image_url_logo=None,
        image_path_mask=None,
        async_mode=False,
    )
    service: Any = apprise.Apprise.instantiate(order.url, asset=asset, suppress_exceptions=True)
    if service is None:
        return SendOutcome(sent=False, understood=False, reason=kept.reason())
    if dry:
        return SendOutcome(sent=True)
    taken = service.notify_format
    format_ = next(iter(taken)) if isinstance(taken, tuple | list) else taken
    if isinstance(getattr(service, "payload_extras", None), dict):
        service.payload_extras = {**service.payload_extras, "alerts": order.alerts}
        format_ = apprise.NotifyFormat.TEXT
    bodies = {"html": order.html, "markdown": order.markdown}
    kind = {"severe": "failure", "moderate": "warning", "minor": "info"}[order.severity]
    chosen = str(getattr(format_, "value", format_))
    sent = service.notify(
        title=order.title,
        body=bodies.get(chosen, order.text),
        body_format=chosen if chosen in bodies else "text",
        notify_type=kind,
    )
    return SendOutcome(sent=bool(sent), reason="" if sent else kept.reason())


def main() -> None:
    """Read an order, send it, and write the outcome."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=SendOrder)
    outcome = deliver(order, dry="--dry" in sys.argv)
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
