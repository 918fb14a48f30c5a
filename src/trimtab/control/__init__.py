"""Control: from a judged window to a decision, and from a decision to an action that was handed in.

window and signals -> Cause -> Draft (decide, brakes) -> Decision in the ledger -> action
"""

from trimtab.control.cause import Cause
from trimtab.control.controller import Actions, Controller
from trimtab.control.decision import Draft, decide
from trimtab.control.history import History
from trimtab.control.ledger import Ledger, verify_chain
from trimtab.control.resolve import resolve
from trimtab.control.reviews import pending_reviews, proposes_retraining

__all__ = [
    "Actions",
    "Cause",
    "Controller",
    "Draft",
    "History",
    "Ledger",
    "decide",
    "pending_reviews",
    "proposes_retraining",
    "resolve",
    "verify_chain",
]
