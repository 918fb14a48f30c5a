"""The data wing: files -> checks -> versioned tables, failing rows to quarantine."""

from trimtab.data.blocks import in_blocks
from trimtab.data.files import has_files
from trimtab.data.ingest import Ingested, ingest
from trimtab.data.outcomes import CheckedOutcomes, OutcomeColumns, check_outcomes, column_names, read_outcomes
from trimtab.data.validate import validate, validate_files

__all__ = [
    "CheckedOutcomes",
    "Ingested",
    "OutcomeColumns",
    "check_outcomes",
    "column_names",
    "has_files",
    "in_blocks",
    "ingest",
    "read_outcomes",
    "validate",
    "validate_files",
]
