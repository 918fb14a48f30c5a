"""Facts of projects for tests of exports: a policy's text, and models of several tasks."""

from __future__ import annotations

from pathlib import Path

from trimtab.app.project.definitions_file import load_definitions
from trimtab.policy.reader import parse_policy
from trimtab.targets.project_facts import Facts

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "data/orders", timestamp="at")
prices = tt.FileSource("prices", "prices.csv", timestamp="at")
value = tt.Model("order_value", task="regression", examples=orders, label="value", features=["amount", "age"])
size = tt.Model(
    "size", task="multiclass", examples=prices, label="size", features=["length"], classes=["small", "middle", "large"]
)
"""
NONE = "import trimtab as tt\n"


def facts(folder: Path, policy: str, definitions: str = DEFINITIONS) -> Facts:
    """Return the facts of a project with this policy and these definitions, which are written into a folder."""
    (folder / "definitions.py").write_text(definitions, encoding="utf-8")
    return Facts(
        policy=parse_policy(policy),
        definitions=load_definitions(folder),
        subfolder="",
        version="1.2.3",
        policy_text=policy,
    )
