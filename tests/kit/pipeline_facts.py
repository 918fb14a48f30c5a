"""What pipelines are made from: a policy in words, and models of some names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trimtab as tt
from trimtab.definitions.collection import collect
from trimtab.policy.reader import parse_policy
from trimtab.targets.project_facts import Facts

FOLDERS = "tables: /srv/{0}/t, online: /srv/{0}/o, artifacts: /srv/{0}/a, predictions: /srv/{0}/p"
STORES = "metadata: 'sqlite:////srv/{0}/m.db', tracking: 'http://mlflow:5000', " + FOLDERS
BOTH = f"environments: {{ staging: {{ {STORES.format('s')} }}, production: {{ {STORES.format('p')} }} }}\n"
"""Stores outside of the project folder."""


def facts(policy: str = "", *, models: Sequence[str] = ("delay",), subfolder: str = "", **sources: Any) -> Facts:
    """Return the facts of a project. policy: text below the name of the project. sources: further definitions."""
    rows = tt.FileSource("rows", "rows.parquet", timestamp="at")
    made: dict[str, Any] = {"rows": rows, **sources}
    for name in models:
        model = tt.Model(name, task="binary", examples=rows, label="late", features=["distance"])
        model.trainer(lambda data, params, seed: None)
        made[f"model_{name}"] = model
    found = parse_policy(f"project: flight-delays\n{policy}")
    return Facts(policy=found, definitions=collect(made), subfolder=subfolder, version="1.2.3")
