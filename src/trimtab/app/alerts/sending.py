"""Sends a message to a channel, by a process with a time limit; no text that it returns holds a secret."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Sequence
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from trimtab.app.alerts.apprise_program import SendOrder, SendOutcome
from trimtab.app.alerts.message_text import Message
from trimtab.app.project.child_processes import APPRISE
from trimtab.definitions.secrets import reveal_in_url
from trimtab.errors import TrimtabError
from trimtab.policy.alert_channels import Channel
from trimtab.records.alert_records import Alert

SEND_SECONDS = 60.0
NOTHING = Message(title="", text="", html="", markdown="", severity="minor")
HIDDEN = "***"
SHORTEST_SECRET = 4
"""Shorter parts of a URL are not hidden: they are words such as a port or a mode."""
LONGEST_REASON = 300
WITH_HOST = frozenset(
    f"{name}{secure}" for name in ("mailto", "json", "form", "xml", "http", "workflow", "ntfy") for secure in ("", "s")
)
"""Services whose URL begins with a host; in the others a token may stand there."""


def send(name: str, channel: Channel, message: Message, alerts: Sequence[Alert]) -> str | None:
    """Send a message; return why it was not sent, or None when it was."""
    return _ask(name, channel, message, alerts)


def url_problem(name: str, channel: Channel) -> str | None:
    """Return why nothing can be sent to a channel, without sending anything; None when its URL and secrets are good."""
    return _ask(name, channel, NOTHING, (), "--dry")


def _ask(name: str, channel: Channel, message: Message, alerts: Sequence[Alert], *options: str) -> str | None:
    try:
        url = reveal_in_url(channel.url, f"alerts.channels.{name}.url")
    except TrimtabError as error:
        return str(error)
    facts = [msgspec.to_builtins(alert) for alert in alerts]
    order = msgspec.json.encode(SendOrder(url=url, alerts=facts, **dataclasses.asdict(message)))
    command = [*APPRISE, *options]
    try:
        done = subprocess.run(command, input=order, capture_output=True, timeout=SEND_SECONDS, check=False)
        outcome = msgspec.json.decode(done.stdout, type=SendOutcome)
    except subprocess.TimeoutExpired:
        return f"no answer within {SEND_SECONDS:g} s"
    except msgspec.DecodeError:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return hidden(f"the process that sends has ended ({done.returncode}): {last}", url)
    if outcome.sent:
        return None
    if not outcome.understood:
        service = url.partition("://")[0] if "://" in url else ""
        what = f"as a URL of '{service}'" if service.isalnum() and len(service) < 20 else "as a URL"
        why = f": {hidden(outcome.reason, url)}" if outcome.reason else "; its pages show the form of each service"
        return f"Apprise does not understand it {what}{why}"
    return hidden(plain(outcome.reason) or "the service refused it", url)


def plain(reason: str) -> str:
    """Return what Apprise says of a failure, with what the system says of it in place of what its libraries say."""
    said = re.search(r"\[Errno -?\d+\] ([\w ,.'-]+)", reason)
    return reason if said is None else f"{reason.partition(';')[0]}: {said[1].strip()}"


def hidden(text: str, url: str) -> str:
    """Return a text without what a URL says besides its service and, where it is one, its host."""
    try:
        split = urlsplit(url)
    except ValueError:
        return text.replace(url, HIDDEN)[:LONGEST_REASON]
    values = [value for _, value in parse_qsl(split.query)]
    parts = [*split.path.split("/"), *values, split.fragment, split.username or "", split.password or ""]
    parts += [] if split.scheme in WITH_HOST else re.split("[:@]", split.netloc)
    secrets = {form for part in parts for form in (part, unquote(part), quote(unquote(part), safe=""))}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text[:LONGEST_REASON]
