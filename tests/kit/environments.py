"""A project with the environments staging and production, and bundles of staging that look their scores up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from trimtab.app.delivery.promotion import bundle_to_promote, promote
from trimtab.app.operations.actors import Actor
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import ingesting
from trimtab.app.stages.freshness import bring_up_to_date
from trimtab.clock import Clock
from trimtab.records.gate_reports import GateReport
from trimtab.records.record import Verdict
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle

DAY = datetime(2026, 1, 1, tzinfo=UTC)
ANN = Actor(name="ann", role="admin")
DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders.parquet", timestamp="at", known_at="known")
shop = tt.Entity("shop")
speed = tt.FeatureView("speed", shop, orders, [tt.count("5h")])
delay = tt.Model("delay", task="binary", examples=orders, label="late", features=["row", speed])


@delay.trainer
def train(data, params, seed):
    raise NotImplementedError
"""


class Pair:
    """The project; its workspaces are opened on first use."""

    def __init__(self, folder: Path, *, clock: Clock | None = None, **sections: Any) -> None:
        self.folder = folder
        if not folder.exists():
            folder.mkdir(parents=True)
            at = [DAY + timedelta(hours=n) for n in range(48)]
            rows = {
                "at": at,
                "known": [each + timedelta(minutes=30) for each in at],
                "shop": "a",
                "row": 0.0,
                "late": [n % 2 for n in range(48)],
            }
            pl.DataFrame(rows).write_parquet(folder / "orders.parquet")
            (folder / "definitions.py").write_text(DEFINITIONS)
            default = {
                "project": "p",
                "serving": {"port": 0},
                "console": {"port": 0},
                "rollout": {"strategy": "blue-green"},
                "environments": {"staging": {}, "production": {}},
            }
            (folder / "trimtab.yaml").write_text(yaml.safe_dump(default | sections))
        self.staging: Workspace = open_workspace(folder, "staging", clock)
        self.production: Workspace = open_workspace(folder, "production", clock)

    def ingest(self) -> None:
        """Take the rows into both environments."""
        for each in (self.staging, self.production):
            ingesting.ingest(each)

    def bundle(
        self, version: int, scores: Sequence[float] = (0.1, 0.8), *, verdict: Verdict = "pass", views: bool = False
    ) -> Bundle:
        """Register a version in staging. views: its features come from the view, too."""
        ws = self.staging
        report = GateReport(
            id="none", created_at=DAY, model="delay", run="run", champion="delay/1", verdict=verdict, results=()
        )
        ws.metadata.put(report)
        view = ws.project.definitions.views["speed"]
        if views:
            bring_up_to_date(ws, view)
        return register_bundle(
            ws.metadata,
            ws.artifacts,
            lookup_graph(scores),
            plain_spec("delay", ["row"], entity_keys=("shop",), views=(view.version_id,) if views else ()),
            version=version,
            created_at=ws.now(),
        )

    def serve(self, version: int, scores: Sequence[float] = (0.1, 0.8), *, views: bool = False) -> Bundle:
        """Register a version in staging and let it serve there."""
        made = self.bundle(version, scores, views=views)
        open_rollouts(self.staging, "delay").deploy(made, cause=f"deploy {version}", reason="a test", by="tests")
        return made

    def promote(self, bundle: Bundle | None = None, *, actor: Actor = ANN, **options: Any) -> Revision:
        """Promote a bundle, or the champion, from staging to production."""
        found = bundle or bundle_to_promote(self.staging, "delay", None)
        return promote(self.staging, self.production, actor, found, **{"reason": "it is good", **options})
