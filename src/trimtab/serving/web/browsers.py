"""Refuses requests that web pages of other sites can make a browser send to a gateway without tokens.

The browser names the page in the header Origin, which must be the gateway's own or an allowed one. With DNS rebinding,
where the page's name resolves to this machine, both Origin and Host hold that name, so Host must be a known one. HTML
forms need no permission of the gateway, but have content types that no route which changes state accepts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from trimtab.serving.endpoints import Headers
from trimtab.serving.requests import Refused

FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain")
MOST_KNOWN = 512
_PORTS = {"http": 80, "https": 443}


class BrowserCheck:
    """Checks the headers Host and Origin.

    hosts: allowed names in addition to those of this machine, `*.example.com` for its subdomains; `*` or None: any.
    origins: pages that may send requests, such as https://app.example.com; `*`: any. section: of trimtab.yaml.
    """

    def __init__(self, hosts: Sequence[str] | None, origins: Sequence[str] = (), section: str = "serving") -> None:
        self._section = section
        self._hosts = None if hosts is None or "*" in hosts else [name.lower() for name in hosts]
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self.known: set[bytes] = set()
        """Values of Host that have passed."""

    def check(self, host: bytes | None, origin: bytes | None) -> None:
        """Raise Refused (403) unless both are allowed. host: None in HTTP/1.0, which no browser uses."""
        if host is not None and host not in self.known:
            self._check_host(host)
        if origin is not None:
            self._check_origin(host or b"", origin.decode("latin-1"))

    def _check_host(self, host: bytes) -> None:
        name = _name(host.decode("latin-1"))
        if self._hosts is not None and name and not _is_local(name) and not self._lists(name):
            raise Refused(
                403,
                f"the header Host is '{name:.100}', which is no name of this server (a page may have been pointed at "
                f"it: DNS rebinding). Allow it in {self._section}.allowed_hosts of trimtab.yaml when it is a proxy's",
            )
        if len(self.known) < MOST_KNOWN:
            self.known.add(host)

    def _lists(self, name: str) -> bool:
        return any(name == own or (own.startswith("*.") and name.endswith(own[1:])) for own in self._hosts or ())

    def _check_origin(self, host: bytes, origin: str) -> None:
        if origin.lower() in self._origins or "*" in self._origins or _is_same(origin, host.decode("latin-1")):
            return
        raise Refused(
            403,
            f"the request comes from a page of another site, '{origin:.100}'. Allow it in serving.allowed_origins of "
            "trimtab.yaml when it may ask this gateway",
        )


def check_no_form(headers: Headers) -> None:
    """Raise Refused (415) for the content types of HTML forms, which browsers send to any site."""
    for name, value in headers:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind in FORMS:
                text = kind.decode("latin-1")
                raise Refused(
                    415, f"content type '{text}' is not taken here; send JSON with 'Content-Type: application/json'"
                )
            return


def _name(host: str) -> str:
    """Return the name of a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()


def _is_local(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same(origin: str, host: str) -> bool:
    """Return True if the page of `origin` is of the host that the request goes to."""
    try:
        page = urlsplit(origin)
        target = urlsplit(f"{page.scheme}://{host}")
        default = _PORTS.get(page.scheme)
        if default is None or not page.hostname:
            return False
        return (page.hostname, page.port or default) == (target.hostname, target.port or default)
    except ValueError:
        return False
