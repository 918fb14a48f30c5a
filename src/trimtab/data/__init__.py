"""Reads files, checks their rows, and appends them to versioned tables; failing rows go to a quarantine table."""

from trimtab.data.checks import failure_lines
from trimtab.data.ingest import Ingested, ingest, validate, validate_files
from trimtab.data.label_files import (
    CheckedOutcomes,
    OutcomeColumns,
    check_outcomes,
    column_names,
    in_blocks,
    read_outcomes,
)
from trimtab.data.quarantine import Refused, read_refused
from trimtab.data.rebuild import rebuild
from trimtab.data.source_files import has_files

__all__ = [
    "CheckedOutcomes",
    "Ingested",
    "OutcomeColumns",
    "Refused",
    "check_outcomes",
    "column_names",
    "failure_lines",
    "has_files",
    "in_blocks",
    "ingest",
    "read_outcomes",
    "read_refused",
    "rebuild",
    "validate",
    "validate_files",
]
