"""The gateway's log on standard error: JSON lines for machines, text for a terminal.

Modules log as usual, and add fields with `extra=about(model=..., request_id=...)`. A repeated warning is written once,
and then as a count each minute, so that a broken bundle does not fill a disk.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any, TextIO

import msgspec

from trimtab import settings
from trimtab.clock import from_micros
from trimtab.errors import UsageError, nearest

FORMATS = ("auto", "json", "text")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FIELDS = ("model", "version", "role", "revision", "request_id")
"""Fields that a message may have."""
REPEAT_S = 60.0
MOST_KINDS = 1000
"""Kinds of warnings that are counted; further kinds are always written."""

access = logging.getLogger("trimtab.access")


def about(
    *,
    model: str | None = None,
    version: int | str | None = None,
    role: str | None = None,
    revision: int | None = None,
    request_id: str | None = None,
) -> dict[str, Any]:
    """Return the `extra` of a log call with the fields that are known."""
    given = {"model": model, "version": version, "role": role, "revision": revision, "request_id": request_id}
    return {name: value for name, value in given.items() if value is not None}


def log_request(method: str, path: str, status: int, received_ns: int, *, request_id: str | None = None) -> None:
    """Log an answered request at DEBUG. received_ns: time.perf_counter_ns at its arrival."""
    if access.isEnabledFor(logging.DEBUG):
        took_ms = (time.perf_counter_ns() - received_ns) / 1e6
        access.debug("%s %.300s %d %.3f ms", method, path, status, took_ms, extra=about(request_id=request_id))


def configure_logging(*, worker: str | None = None, stream: TextIO | None = None) -> None:
    """Log to standard error, with the level and format of the settings.

    worker: name of this process within the gateway. Raises UsageError for an unknown level or format.
    """
    found = settings.read()
    level, form = found.log_level.upper(), found.log_format.lower()
    if level not in LEVELS:
        raise UsageError(f"TRIMTAB_LOG_LEVEL={found.log_level} is no level.{nearest(level, LEVELS)}")
    if form not in FORMATS:
        raise UsageError(f"TRIMTAB_LOG_FORMAT={found.log_format} is no form.{nearest(form, FORMATS)}")
    stream = stream or sys.stderr
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler = LimitedHandler(stream)
    handler.setFormatter(TextFormatter(worker) if as_text else JsonFormatter(worker))
    set_level(level, handlers=[handler], force=True)


def set_level(level: str, **how: Any) -> None:
    """Set up the log as `logging.basicConfig`. At DEBUG libraries log from INFO on: they write a line for each step."""
    logging.basicConfig(level="INFO" if level == "DEBUG" else level, **how)
    if level == "DEBUG":
        logging.getLogger("trimtab").setLevel(level)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, worker, FIELDS, exception."""

    def __init__(self, worker: str | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, Any] = {
            "time": from_micros(round(record.created * 1e6)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        line |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (UnicodeEncodeError, TypeError, ValueError):  # such as a path with half a surrogate pair
            return ascii_line(line)


class TextFormatter(logging.Formatter):
    """One line of text, with FIELDS in brackets at its end."""

    def __init__(self, worker: str | None = None) -> None:
        name = "%(name)s" if worker is None else f"worker {worker} %(name)s"
        super().__init__(f"%(asctime)s %(levelname)s {name}: %(message)s%(about)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        given = [f"{name}={record.__dict__[name]}" for name in FIELDS if name in record.__dict__]
        record.about = f" [{_one_line(' '.join(given))}]" if given else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # the name that logging calls
        """Return the line of a record, with line breaks escaped, which a path sent by a client may contain."""
        record.message = _one_line(record.message)
        return super().formatMessage(record)


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes the first warning of a kind at once, and further ones as a count every `repeat_s` seconds.

    Warnings and errors are of one kind if they have the same text, first argument, model and version.
    """

    def __init__(self, stream: TextIO, *, repeat_s: float = REPEAT_S) -> None:
        super().__init__(stream)
        self._repeat_s = repeat_s
        self._held: dict[tuple[object, ...], tuple[int, logging.LogRecord]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it. The caller holds the handler's lock."""
        if record.levelno < logging.WARNING:
            super().emit(record)
            return
        kind = _kind(record)
        held = self._held.get(kind)
        if held is not None:
            self._held[kind] = (held[0] + 1, _bare(record))
            return
        super().emit(record)
        if len(self._held) < MOST_KINDS:
            self._held[kind] = (0, _bare(record))
            self._schedule(kind)

    def close(self) -> None:
        """Write the counts that are left."""
        with self.lock or threading.RLock():
            for kind in list(self._held):
                self._write_count(kind, again=False)
        super().close()

    def _schedule(self, kind: tuple[object, ...]) -> None:
        timer = threading.Timer(self._repeat_s, self._due, (kind,))
        timer.daemon = True
        timer.start()

    def _due(self, kind: tuple[object, ...]) -> None:
        with self.lock or threading.RLock():
            self._write_count(kind, again=True)

    def _write_count(self, kind: tuple[object, ...], *, again: bool) -> None:
        count, last = self._held.pop(kind, (0, None))
        if not count or last is None:
            return
        if again:
            self._held[kind] = (0, last)
            self._schedule(kind)
        message = f"{count} more in {self._repeat_s:g} s: {last.getMessage()}"
        super().emit(logging.makeLogRecord({**last.__dict__, "msg": message, "args": None}))


def ascii_line(line: dict[str, Any]) -> str:
    """Return a line as ASCII JSON, for texts that UTF-8 cannot encode."""
    return msgspec.json.encode({name: ascii(value) for name, value in line.items()}).decode()


def _one_line(text: str) -> str:
    """Return a text with escapes for characters that break lines or control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


def _bare(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record without its exception, whose traceback would keep objects such as a model in memory."""
    return logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})


def _kind(record: logging.LogRecord) -> tuple[object, ...]:
    first = record.args[0] if isinstance(record.args, tuple) and record.args else None
    subject = record.__dict__.get("model"), record.__dict__.get("version")
    return record.name, record.levelno, record.msg, first if isinstance(first, str) else None, *subject
