"""Control: from a judged window to a decision, and from a decision to an action that was handed in.

window and signals -> Cause -> Draft (decide, brakes) -> Decision in the ledger -> action
"""
