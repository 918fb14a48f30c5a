"""Why a call of an endpoint failed."""

from __future__ import annotations

from typing import Literal

from trimtab.errors import TrimtabError

FailureKind = Literal["connect", "timeout", "429", "5xx", "4xx", "cut"]


class UpstreamError(TrimtabError):
    """A call of an endpoint failed. Its message holds no text of the endpoint.

    Attributes:
        kind: connect: no connection, or one that broke before the request was sent whole; timeout: a limit of
            `llm.timeouts` passed; 429, 5xx, 4xx: the status, where 4xx stands for 3xx, too, since redirects are not
            followed; cut: the answer ended too early, or is not what was asked for.
        status: HTTP status; None before one came.
        retry_after: seconds until the endpoint wants to be asked again; None when it did not say.
        upstream_text: what the endpoint said of it, unmasked. Mask it before it is written or shown.
        sent: whether the request was sent whole, so that the endpoint may bill it.
        attempts: how often the endpoint was asked.
        failed: kinds of the attempts before the last one.
    """

    def __init__(
        self,
        kind: FailureKind,
        reason: str,
        *,
        endpoint: str,
        status: int | None = None,
        retry_after: float | None = None,
        upstream_text: str = "",
        sent: bool = True,
    ) -> None:
        super().__init__(f"endpoint '{endpoint}': {reason}")
        self.kind = kind
        self.reason = reason
        self.endpoint = endpoint
        self.status = status
        self.retry_after = retry_after
        self.upstream_text = upstream_text
        self.sent = sent
        self.attempts = 1
        self.failed: tuple[str, ...] = ()


def kind_of_status(status: int) -> FailureKind:
    """Return the kind of an HTTP status other than 2xx."""
    if status == 429:
        return "429"
    return "5xx" if status >= 500 else "4xx"
