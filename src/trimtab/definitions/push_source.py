"""A source of rows that clients send to the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from trimtab.definitions.arguments import check_text
from trimtab.definitions.sources import Dtype, Source
from trimtab.errors import DefinitionError, nearest


@dataclass(frozen=True)
class PushSource(Source):
    """Rows that clients send to the gateway, with POST /v1/sources/{name}/push.

    Args:
        name, timestamp, known_at, key, description, owner, tags, pii: as in `Source`.
        schema: the columns of a row and their types: "text", "integer", "number", "boolean" or "time". A client sends
            a time as ISO 8601 text or as microseconds since 1970.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> clicks = tt.PushSource(
    ...     "clicks",
    ...     schema={"session": "text", "product": "integer", "at": "time"},
    ...     timestamp="at",
    ... )
    >>> clicks.known_column
    'at'
    """

    schema: Mapping[str, Dtype] = field(hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.schema, Mapping) or not self.schema:
            raise DefinitionError(f"{self.where}: schema is {self.schema!r}; expected such as {{'amount': 'number'}}")
        if self.dtypes and dict(self.dtypes) != dict(self.schema):
            raise DefinitionError(f"{self.where}: dtypes is for sources without a schema; expected the types in schema")
        if (self.date_format, self.time_zone, self.time_unit) != (None, None, None):
            raise DefinitionError(
                f"{self.where}: date_format, time_zone and time_unit are for files; a client sends ISO 8601 times or "
                "microseconds"
            )
        kinds = get_args(Dtype)
        for column, kind in self.schema.items():
            check_text(f"{self.where}: schema: a column", column, "amount")
            if kind not in kinds:
                raise DefinitionError(
                    f"{self.where}: schema: column '{column}' is {kind!r}; expected one of {', '.join(kinds)}"
                )
        object.__setattr__(self, "dtypes", dict(self.schema))
        super().__post_init__()
        for what, columns in {"timestamp": [self.timestamp], "known_at": [self.known_column], "key": self.key}.items():
            for column in columns:
                if column not in self.schema:
                    raise DefinitionError(
                        f"{self.where}: {what} '{column}' is no column of schema.{nearest(column, self.schema)}"
                    )
        if self.schema[self.timestamp] != "time" or self.schema[self.known_column] != "time":
            raise DefinitionError(f"{self.where}: timestamp and known_at must be of type 'time' in schema")
