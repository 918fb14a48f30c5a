"""The data wing: files -> checks -> versioned tables, failing rows to quarantine."""

from trimtab.data.ingest import Ingested, ingest
from trimtab.data.validate import validate, validate_files

__all__ = ["Ingested", "ingest", "validate", "validate_files"]
