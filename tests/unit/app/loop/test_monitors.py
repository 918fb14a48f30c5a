"""The references of a project's versions, as the monitor takes them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from integration.gateway_project import GatewayProject
from trimtab.app.loop.monitors import references
from trimtab.monitoring.reference import build_reference
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec
from trimtab.testing.judged import bundle_record

DAY = 86_400_000_000


def test_a_version_is_judged_by_the_threshold_that_it_serves_with(tmp_path: Path) -> None:
    # given a fit on all rows: its reference is that of the fit before, its threshold is its own
    workspace = GatewayProject(tmp_path / "project").workspace
    random = np.random.default_rng(0)
    score = random.random(400)
    made = build_reference(
        np.arange(400, dtype=np.float32).reshape(-1, 1),
        score,
        (score > 0.9).astype(np.float64),
        np.arange(400) * DAY // 100,
        ("row",),
        window=DAY,
        task="anomaly",
        threshold=0.9,
        costs={},
    )
    folder = workspace.artifacts.staging()
    (folder / "reference").mkdir(parents=True)
    (folder / "reference" / "windows.json").write_bytes(made.to_json())
    spec = msgspec.structs.replace(
        plain_spec("delay", ["row"], task="anomaly"), feature_categories={"row": ("AA", "DL")}
    )
    pack_bundle(folder, lookup_graph([0.1], task="anomaly"), spec)
    path = workspace.artifacts.publish(folder, "bundles/delay/1")
    workspace.metadata.put(msgspec.structs.replace(bundle_record(1), path=path, threshold=0.95))
    # then decisions are judged by the threshold that serves
    found = references(workspace)("delay", 1)
    assert found is not None
    assert (found.threshold, found.expectation.threshold) == (0.95, 0.95)
    assert found.category_names == {"row": ("AA", "DL")}
    workspace.metadata.close()
