"""Archives of what serves: the same bundle gives the same bytes, with its files at the root."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from kit.target_facts import DEFINITIONS
from trimtab.app.delivery.packed_bundles import pack_serving
from trimtab.app.project.workspace import open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.manifest import verify
from trimtab.errors import StageError
from trimtab.testing.bundles import lookup_graph, plain_spec, register_bundle


def test_what_serves_is_packed_whole_and_alike(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text("project: p\n")
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    workspace = open_workspace(tmp_path)
    with pytest.raises(StageError, match="model 'size': nothing has been deployed yet"):
        pack_serving(workspace, "size", tmp_path / "first")
    for version in (1, 2):
        graph = lookup_graph((version / 10, 0.75), 1)
        bundle = register_bundle(
            workspace.metadata,
            workspace.artifacts,
            graph,
            plain_spec("size", ("length",)),
            version=version,
            created_at=workspace.now(),
        )
        open_rollouts(workspace, "size").deploy(bundle, cause=f"c{version}", reason="a test", by="tests")
    first, again = (pack_serving(workspace, "size", tmp_path / name) for name in ("first", "again"))
    assert [(each.role, each.version, each.weight) for each in first.bundles] == [
        ("champion", 1, 90.0),
        ("challenger", 2, 10.0),
    ]
    for one, other in zip(first.bundles, again.bundles, strict=True):
        assert Path(one.archive).read_bytes() == Path(other.archive).read_bytes()
        with tarfile.open(one.archive) as archive:
            archive.extractall(tmp_path / f"v{one.version}", filter="data")
        assert verify(tmp_path / f"v{one.version}") == one.digest
