"""Sources of rows: what all of them have, and files."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from trimtab.definitions.arguments import bare_path, check_columns, check_name, check_text
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed

TimeUnit = Literal["s", "ms", "us", "ns"]
FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
"""Endings of the names of files that a source reads."""
OBJECT_STORES = ("s3", "gs", "az")
Dtype = Literal["text", "integer", "number", "boolean", "time"]


@dataclass(frozen=True)
class Source(Placed):
    """Rows that come from outside, and the table that holds them under the source's name.

    Each kind of source is a subclass. A bare `Source` names a table that exists already.

    Args:
        name: letters, digits and single underscores.
        timestamp: column of the event time of a row.
        known_at: column of the time at which the row's values became known; without it a row is known at its timestamp.
            A null means never known. A time before the timestamp is refused at ingest: the timestamp of a forecast or
            a plan must be the time of its publication.
        key: columns that identify a row. Of several rows with one key the one that became known last counts, of those
            the one that was ingested last. All of them stay in the table.
        dtypes: types of columns whose values do not determine them, such as {"id": "text", "signup": "time"}.
        time_unit: unit of times that are numbers since 1970: s, ms, us or ns.
        date_format: format of times that are not ISO 8601, with strptime's codes ("%d.%m.%Y %H:%M").
        time_zone: zone of times without one, such as "Europe/Berlin"; without it they are taken as UTC and reported.
        description: what the rows are, for people.
        owner: the person or team that answers for the source.
        tags: words to find it by.
        pii: columns with personal data.

    Raises:
        DefinitionError: an argument is wrong.

    >>> Source("payments", timestamp="paid_at", known_at="settled_at", pii=["iban"]).known_column
    'settled_at'
    """

    name: str
    timestamp: str = field(kw_only=True)
    known_at: str | None = field(default=None, kw_only=True)
    key: Sequence[str] = field(default=(), kw_only=True)
    dtypes: Mapping[str, Dtype] = field(default_factory=dict, hash=False, kw_only=True)
    time_unit: TimeUnit | None = field(default=None, kw_only=True)
    date_format: str | None = field(default=None, kw_only=True)
    time_zone: str | None = field(default=None, kw_only=True)
    description: str = field(default="", kw_only=True)
    owner: str = field(default="", kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)
    pii: Sequence[str] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_name(type(self).__name__, self.name)
        check_text(f"{self.where}: timestamp", self.timestamp, "scheduled_at")
        if self.known_at is not None:
            check_text(f"{self.where}: known_at", self.known_at, "landed_at")
        for name in ("key", "pii", "tags"):
            object.__setattr__(self, name, check_columns(f"{self.where}: {name}", getattr(self, name)))
        self._check_times(self.where)
        self._check_dtypes(self.where)

    @property
    def where(self) -> str:
        """How messages name the source, such as "FileSource 'flights'"."""
        return f"{type(self).__name__} '{self.name}'"

    @property
    def known_column(self) -> str:
        """Column of the time at which a row became known."""
        return self.known_at or self.timestamp

    @property
    def drops_equal_rows(self) -> bool:
        """True if a row that equals one of the table in all columns is the same row, and is left out."""
        return bool(self.key)

    @property
    def origin(self) -> str:
        """What the rows are read from, such as a path. Two sources of one origin read the same rows."""
        return self.name

    def reads_same_rows(self, other: Source) -> bool:
        """Return True if both sources have the same name, or the same kind and origin."""
        return self.name == other.name or (type(self) is type(other) and self.origin == other.origin)

    def _check_times(self, where: str) -> None:
        if self.date_format is not None:
            check_text(f"{where}: date_format", self.date_format, "%d.%m.%Y")
            if "%" not in self.date_format:
                raise DefinitionError(
                    f"{where}: date_format is '{self.date_format}'; expected strptime's codes, such as '%d.%m.%Y %H:%M'"
                )
        units = get_args(TimeUnit)
        if self.time_unit is not None and self.time_unit not in units:
            raise DefinitionError(f"{where}: time_unit is {self.time_unit!r}; expected one of {', '.join(units)}")
        if self.date_format is not None and self.time_unit is not None:
            raise DefinitionError(f"{where}: date_format is for texts, time_unit for numbers; expected one of them")
        if self.time_zone is None:
            return
        check_text(f"{where}: time_zone", self.time_zone, "Europe/Berlin")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            hint = nearest(self.time_zone, available_timezones())
            raise DefinitionError(f"{where}: there is no time zone '{self.time_zone}'.{hint}") from None

    def _check_dtypes(self, where: str) -> None:
        if not isinstance(self.dtypes, Mapping):
            raise DefinitionError(f"{where}: dtypes is {self.dtypes!r}; expected such as {{'id': 'text'}}")
        kinds = get_args(Dtype)
        for column, kind in self.dtypes.items():
            check_text(f"{where}: dtypes: a column", column, "id")
            if kind not in kinds:
                raise DefinitionError(
                    f"{where}: dtypes: column '{column}' is {kind!r}; expected one of {', '.join(kinds)}"
                )
            if column in (self.timestamp, self.known_at) and kind != "time":
                raise DefinitionError(f"{where}: dtypes: column '{column}' is a time; it cannot be '{kind}'")


@dataclass(frozen=True)
class FileSource(Source):
    """Rows in Parquet, CSV or JSON lines files.

    Args:
        name, timestamp, known_at, key, dtypes, time_unit, date_format, time_zone, description, owner, tags, pii: as in
            `Source`.
        path: a file, a folder of files, or a glob, relative to the project folder; ** in a glob stands for folders of
            any depth. s3://bucket/path, gs:// and az:// are object stores.
        separator: of CSV files, one character.
        decimal: decimal point of CSV files, "." or ",".
        encoding: of CSV and JSON lines files, a name that Python knows.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> tt.FileSource("weather", "data/weather/*.csv", timestamp="observed_at", separator=";").known_column
    'observed_at'
    """

    path: str
    separator: str = field(default=",", kw_only=True)
    decimal: str = field(default=".", kw_only=True)
    encoding: str = field(default="utf-8", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(f"{self.where}: path", self.path, "data/flights.parquet")
        scheme, _, rest = self.path.rpartition("://")
        if scheme and (scheme not in OBJECT_STORES or not rest.strip("/")):
            hint = nearest(scheme, OBJECT_STORES)
            raise DefinitionError(f"{self.where}: '{self.path}' is no URL such as s3://bucket/folder/*.parquet.{hint}")
        if not self.path.removesuffix("/").endswith((*FORMATS, "*")) and "." in self.path.rsplit("/")[-1]:
            raise DefinitionError(
                f"{self.where}: '{self.path}' is none of Parquet, CSV and JSON lines; expected a path that ends "
                f"in {', '.join(FORMATS)}, or a folder of such files"
            )
        self._check_text_format(self.where)

    @property
    def is_remote(self) -> bool:
        """True if the files are in an object store."""
        return "://" in self.path

    @property
    def origin(self) -> str:
        """The path, without the pattern of a glob."""
        return bare_path(self.path)

    def _check_text_format(self, where: str) -> None:
        if not isinstance(self.separator, str) or len(self.separator.encode()) != 1 or self.separator in '"\r\n':
            raise DefinitionError(f"{where}: separator is {self.separator!r}; expected one character, such as ';'")
        if self.decimal not in (".", ","):
            raise DefinitionError(f"{where}: decimal is {self.decimal!r}; expected '.' or ','")
        if self.decimal == self.separator:
            raise DefinitionError(f"{where}: separator and decimal are both ','; expected such as separator=';'")
        check_text(f"{where}: encoding", self.encoding, "utf-8")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            known = ("utf-8", "utf-16", "latin-1", "iso-8859-1", "windows-1252", "cp1252", "shift_jis", "gb18030")
            raise DefinitionError(
                f"{where}: encoding '{self.encoding}' is not known to Python.{nearest(self.encoding, known)}"
            ) from None
