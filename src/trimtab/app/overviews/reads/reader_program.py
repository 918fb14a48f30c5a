"""The child of `child_reader.py`: a program that gets requests on standard input, one a line, and answers in JSON."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import msgspec

from trimtab import errors
from trimtab.app.project.child_processes import ReadAnswer, ReaderOrder, ReadRequest
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace
from trimtab.errors import MissingExtra, TrimtabError
from trimtab.policy.environments import Environment

log = logging.getLogger(__name__)

READS: Mapping[str, tuple[str, str]] = {
    "compare": ("trimtab.app.reports.version_comparison", "compare_versions"),
    "doctor": ("trimtab.app.overviews.reads.doctor_reads", "findings"),
    "held_rows": ("trimtab.app.overviews.reads.row_reads", "held_rows"),
    "lineage": ("trimtab.app.reports.lineage", "lineage"),
    "log_span": ("trimtab.app.overviews.reads.row_reads", "log_span"),
    "run_diff": ("trimtab.app.overviews.reads.run_reads", "run_diff"),
    "run_plots": ("trimtab.app.overviews.reads.run_reads", "run_plots"),
    "run_page": ("trimtab.app.overviews.reads.run_reads", "run_page"),
    "table": ("trimtab.app.overviews.reads.row_reads", "last_rows"),
    "exported_rows": ("trimtab.app.overviews.reads.window_rows", "exported_rows"),
    "sampled_rows": ("trimtab.app.overviews.reads.window_rows", "sampled_rows"),
    "view": ("trimtab.app.reports.feature_catalog", "view_facts"),
}
"""Name of a read -> its module, imported at the first read, and its function of the workspace and the arguments."""


def answer(workspace: Workspace, line: bytes) -> ReadAnswer:
    """Return the answer to one request. Errors become part of it."""
    try:
        request = msgspec.json.decode(line, type=ReadRequest)
        module, name = READS[request.read]
        value = getattr(import_module(module), name)(workspace, **request.arguments)
        return ReadAnswer(value=msgspec.Raw(msgspec.json.encode(value, enc_hook=str)))
    except TrimtabError as error:
        return ReadAnswer(error=_kind(error), text=str(error))
    except Exception as error:  # a border: the next request is answered, too
        log.exception("a read failed")
        return ReadAnswer(error="TrimtabError", text=f"reading failed: {type(error).__name__}: {error}")


def _kind(error: TrimtabError) -> str:
    """Return the name of the nearest class of errors.py that takes a message alone."""
    return next(
        kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__ and kind is not MissingExtra
    )


def main() -> None:
    """Answer requests until the input ends. What definitions.py prints goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=ReaderOrder)
    workspace, broken = None, ReadAnswer()
    try:
        workspace = Workspace(open_project(Path(order.project)), Environment.model_validate_json(order.environment))
    except TrimtabError as error:
        broken = ReadAnswer(error=_kind(error), text=str(error))
    for line in sys.stdin.buffer:
        found = broken if workspace is None else answer(workspace, line)
        try:
            output.write(msgspec.json.encode(found) + b"\n")
            output.flush()
        except BrokenPipeError:  # the process that asked has ended
            os._exit(0)


if __name__ == "__main__":
    main()
