"""Records of promotions between environments: requests, and the answers of those who may approve."""

from __future__ import annotations

from typing import Literal

from trimtab.records.record import ActorRole, Record, Role


class PromotionRequest(Record, frozen=True, kw_only=True):
    """A request to bring one bundle into this environment; id is `model/promotion/number`."""

    KIND = "promotion_request"
    KEYS = ("model", "number", "digest")

    model: str
    number: int
    environment: str
    """Where the bundle is."""
    bundle: str
    """Id of the bundle there."""
    digest: str
    """An approval holds for this digest alone."""
    role: Role | None
    """What it is to become; None: what the policy's strategy says."""
    share: float | None
    """Share of a challenger's traffic, between 0 and 1; None: the policy's."""
    reason: str
    by: str


class PromotionAnswer(Record, frozen=True, kw_only=True):
    """The answer of one person to a PromotionRequest; id is `request/verdict/name`."""

    KIND = "promotion_answer"
    KEYS = ("request", "model", "by")

    model: str
    request: str
    verdict: Literal["approve", "reject"]
    reason: str
    by: str
    role: ActorRole
    """Of that person when the answer was given."""
