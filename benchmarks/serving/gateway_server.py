"""Trimtab's gateway: python gateway_server.py ROOT PORT. Routing, prediction log, metrics: everything on."""

from __future__ import annotations

import sys
from pathlib import Path

from trimtab.serving import GatewayConfig, serve
from trimtab.serving.columns import NumericColumns
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.segments import SegmentLog

if __name__ == "__main__":
    root = Path(sys.argv[1])
    serve(
        GatewayConfig(
            metadata=SqlMetadata(root / "metadata.db"),
            artifacts=FolderArtifacts(root / "artifacts"),
            predictions=SegmentLog(root / "log"),
            vectorizer_factory=NumericColumns,
            run_folder=root / "run",
            port=int(sys.argv[2]),
        )
    )
