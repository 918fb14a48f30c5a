"""Promotions into the environment of the console: what was asked for, the answers of people, and asking."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from trimtab import units
from trimtab.app.delivery.promotion_order import order_promotion
from trimtab.app.operations.promotion_requests import PromotionVerdict, answer_promotion, promotion_states
from trimtab.console.access import Visitor
from trimtab.console.changes import Change, ForcedChange
from trimtab.console.documents import document
from trimtab.console.routes.action_routes import changed
from trimtab.errors import ApprovalNeeded, UsageError
from trimtab.records.record import Role

pages, api = APIRouter(), APIRouter(tags=["promotions"])
ACCEPTED = 202


class Promoting(ForcedChange):
    """A bundle of another environment."""

    source: str | None = Field(
        default=None, alias="from", description="Environment that has it; `from` of this environment by default."
    )
    version: int | None = Field(default=None, description="The champion there by default.")
    role: Role | None = Field(default=None, alias="as", description="What it becomes; as the policy says by default.")
    share: str | None = Field(default=None, description="Of the traffic of a challenger, such as 25%.")
    again: bool = Field(default=False, description="Ask anew for an approval that was rejected.")


class Answering(Change):
    """An answer to a request."""

    verdict: PromotionVerdict


@api.get("/promotions")
def promotions(visit: Visitor) -> Response:
    """Return the requests to promote a bundle into this environment, newest first, and what became of each."""
    return document(promotion_states(visit.workspace))


@api.post("/models/{model}/promotions")
def promote(visit: Visitor, model: str, asked: Promoting) -> Response:
    """Bring a bundle of another environment into service, once people have approved it: until then 202 and the request.

    Takes a developer; an approver where no approval is asked for.
    """
    name, source = visit.workspace.served(model).name, asked.source or visit.workspace.environment.from_
    if source is None:
        raise UsageError("from: expected the name of the environment that has the bundle")
    try:
        share = None if asked.share is None else units.share(asked.share)
    except ValueError as error:
        raise UsageError(f"share: {error}") from None
    try:
        done = order_promotion(
            visit.workspace, visit.actor, name, source=source, version=asked.version, role=asked.role, share=share,
            reason=asked.reason, force=asked.force, again=asked.again,
        )  # fmt: skip
    except ApprovalNeeded:
        found = document(promotion_states(visit.workspace, name)[0])
        found.status_code = ACCEPTED
        return found
    return changed(visit, done)


@api.post("/models/{model}/promotions/{number}/answer")
def answer(visit: Visitor, model: str, number: int, asked: Answering) -> Response:
    """Approve or reject a request. Takes the role that the policy names, and another person than the one who asked."""
    found = answer_promotion(
        visit.workspace, visit.actor, f"{model}/promotion/{number}", asked.verdict, reason=asked.reason
    )
    return document(found)
