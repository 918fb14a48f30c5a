"""A gateway process over the embedded stores of a folder: python serving_process.py FOLDER [PORT]."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from trimtab.serving import GatewayConfig, serve
from trimtab.serving.columns import NumericColumns
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.segments import SegmentLog

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    root = Path(sys.argv[1])
    serve(
        GatewayConfig(
            metadata=SqlMetadata(root / "metadata.db"),
            artifacts=FolderArtifacts(root / "artifacts"),
            predictions=SegmentLog(root / "log", segment_rows=2_000),
            vectorizer_factory=NumericColumns,
            run_folder=root / "run",
            port=int(sys.argv[2]) if len(sys.argv) > 2 else 0,
        )
    )
