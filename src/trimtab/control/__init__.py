"""Control: from a judged window to a decision, and from a decision to an action that was handed in.

window and signals -> Cause -> Draft (decide, brakes) -> Decision in the ledger -> action
"""

from trimtab.control.cause import Cause
from trimtab.control.controller import Actions, Controller
from trimtab.control.decision import Draft, decide
from trimtab.control.history import History
from trimtab.control.ledger import Ledger, verify_chain
from trimtab.control.resolve import Answer, resolve
from trimtab.control.reviews import open_notes, pending_reviews, proposes_retraining

__all__ = [
    "Actions",
    "Answer",
    "Cause",
    "Controller",
    "Draft",
    "History",
    "Ledger",
    "decide",
    "open_notes",
    "pending_reviews",
    "proposes_retraining",
    "resolve",
    "verify_chain",
]
