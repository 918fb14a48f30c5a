"""Reads all files of a source again into one new version of its table, so that columns get types that fit all files.

Needed if the first file gave a column a type that later files do not fit, or if the definition of the source has
changed since. Earlier versions stay readable, so training sets made from them do not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import polars as pl
import pyarrow as pa

from trimtab.data.batch import Intake, check_content, read_content
from trimtab.data.ingest import Ingested, quarantine_failing, record_versions, refuse_failing, refuse_sample
from trimtab.data.local_file import SourceFile
from trimtab.data.quarantine_release import releases
from trimtab.data.source_files import find_files
from trimtab.errors import DataError, StageError
from trimtab.records.data import CheckReport, TableVersion
from trimtab.stores.tables.contract import Tables
from trimtab.stores.tables.schema_fit import fit, wider
from trimtab.units import plural


def rebuild(intake: Intake) -> Ingested:
    """Read all files that were ingested into a table again, in the same order, as its next version. Idempotent.

    Returns:
        The result; `skipped` if the newest version has the same rows already.

    Raises:
        StageError: nothing was ingested yet.
        DataError: a file is missing or has changed, or no type fits a column in all files.
        CheckFailed: too many rows of a file fail.
        UsageError: the table holds a sample.
    """
    refuse_sample(intake)
    source, tables, metadata, clock = intake.source, intake.tables, intake.metadata, intake.clock
    versions = record_versions(source.name, tables=tables, metadata=metadata, clock=clock)
    if not versions:
        raise StageError(f"table '{source.name}' is empty: nothing to read again. Run: trimtab ingest {source.name}")
    files = _files(intake, versions)
    schema = _schema_of_all(intake, find_files(intake.files, intake.folder))
    rows = _rows_of_all(intake, files, schema)
    newest = versions[-1]
    about = f"{plural(len(files), 'file')}, read again"
    if tables.schema(source.name) == {one.name: str(one.type) for one in schema} and _is_there(tables, newest, rows):
        reason = f"{newest.id} has these rows already, value by value"
        return Ingested(source.name, about, rows_added=0, rows_quarantined=0, version=newest, skipped=reason)
    hashes = "".join(version.source_hash for version in versions)
    report = CheckReport(
        id="",
        created_at=clock.now(),
        table=source.name,
        source=about,
        batch_hash=hashlib.sha256(f"{newest.id} {schema} {hashes}".encode()).hexdigest(),
        content_hash=hashlib.sha256(hashes.encode()).hexdigest(),
        verdict="pass",
        rows=rows.num_rows,
        failing_rows=0,
        max_failing_share=intake.max_share,
        failures=(),
        quarantine=None,
        reason=f"{source.name}: {about}: {rows.num_rows:,} rows",
        replaces_all=True,
    )
    metadata.put(msgspec.structs.replace(report, id=f"{source.name}/{report.batch_hash[:12]}/rebuild"))
    tables.replace(source.name, rows, batch=report.batch_hash)
    made = record_versions(source.name, tables=tables, metadata=metadata, clock=clock)[-1]
    return Ingested(source.name, about, rows_added=0, rows_quarantined=0, version=made)


def _is_there(tables: Tables, version: TableVersion, rows: pa.Table) -> bool:
    """Return True if a version holds the same rows in the same order.

    Equal types are not enough: an option such as `time_zone` changes values and no type.
    """
    if version.rows != rows.num_rows:
        return False
    held = tables.scan(version.table, version=version.version).collect()
    return held.equals(pl.DataFrame(rows).select(held.columns))


def _files(intake: Intake, versions: Sequence[TableVersion]) -> list[SourceFile]:
    """Return the files of the versions in order. Raises DataError when one is missing or has changed."""
    here = {file.hash(): file for file in find_files(intake.files, intake.folder)}
    released = releases(intake.table, intake.metadata)
    wanted = [version for version in versions if not version.replaces_all and version.source_hash not in released]
    gone = [version for version in wanted if version.source_hash not in here]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise DataError(
            f"the files of table '{intake.table}' cannot be read again: {gone[0].source}{more} is missing or has "
            f"changed since it was ingested as {gone[0].id}. Restore it"
        )
    return [here[version.source_hash] for version in wanted]


def _schema_of_all(intake: Intake, files: Sequence[SourceFile]) -> pa.Schema:
    """Return the columns of all files, including files not ingested yet, with types that fit them all.

    Raises DataError naming file and column.
    """
    found: dict[str, pa.DataType | None] = {}
    for file in files:
        _, content = read_content(intake, file, like=None)
        for name, column in zip(content.rows.column_names, content.rows.columns, strict=True):
            type_ = None if column.null_count == len(column) and pa.types.is_string(column.type) else column.type
            before = found.get(name)
            found[name] = type_ if before is None else before if type_ is None else _common(before, type_)
            if found[name] is None and before is not None and type_ is not None:
                raise DataError(
                    f"{file.where}: column '{name}' is {type_}, and {before} in earlier files; no type fits both. Let "
                    f"it be text: FileSource(..., dtypes={{'{name}': 'text'}})"
                )
    return pa.schema([(name, type_ or pa.string()) for name, type_ in found.items()])


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both, None if there is none; text holds integers and booleans, too."""
    found = wider(one, other)
    if found is None and pa.string() in (one, other):
        rest = other if one == pa.string() else one
        return pa.string() if pa.types.is_integer(rest) or pa.types.is_boolean(rest) else None
    return found


def _rows_of_all(intake: Intake, files: Sequence[SourceFile], schema: pa.Schema) -> pa.Table:
    """Read and check all files and concatenate their rows; failing rows go to the quarantine table, as in an ingest.

    Rows of a file that were released stay in the table, in their place in the file.
    """
    parts = []
    released: dict[str, list[int]] = {}
    for end in releases(intake.table, intake.metadata).values():
        released.setdefault(end.batch, []).extend(number - 1 for number in end.rows)
    for file in files:
        hash_, content = read_content(intake, file, like=schema)
        rows = fit(intake.table, content.rows, schema, add_columns=intake.add_columns)
        batch = check_content(intake, file.name, hash_, replace(content, rows=rows), rows=None, again=True)
        refuse_failing(intake, batch)
        intake.metadata.put(batch.report)
        kept = batch.left_out.filter(~batch.left_out.is_in(released.get(hash_, [])))
        parts.append(quarantine_failing(intake, replace(batch, left_out=kept)))
    rows = pa.concat_tables(parts, promote_options="default")
    if not intake.source.key:
        return rows
    return pl.DataFrame(rows).unique(keep="first", maintain_order=True).to_arrow().cast(rows.schema)
