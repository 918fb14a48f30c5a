"""Where the process of the loopback provider listens, as the run folder says. It loads no server."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

ANNOUNCED = "loopback.json"
"""In the run folder: where the process of the loopback provider listens."""
ASK_SECONDS = 5.0


class RunningLoopback(msgspec.Struct, frozen=True, kw_only=True):
    """A loopback provider that was started. url: base URL of its interface."""

    url: str
    pid: int


def announced(run_folder: Path) -> RunningLoopback | None:
    """Return the provider that a run folder announces, if it answers."""
    try:
        found = msgspec.json.decode((run_folder / ANNOUNCED).read_bytes(), type=RunningLoopback)
    except (OSError, msgspec.DecodeError):
        return None
    parts = urlsplit(found.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/v1/models")
        return found if connection.getresponse().getheader("server") == "trimtab-loopback" else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
