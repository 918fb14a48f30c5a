"""Rows as Kafka messages: CloudEvents in binary mode, with the row as JSON in the value.

Headers by the Kafka protocol binding of CloudEvents 1.0. Prediction events carry KServe's type and the extensions
inferenceservicename (the model) and endpoint ("default" is the champion, else the role). Source and id together are
unique: a challenger or shadow scores the same id under another source. JSON has no NaN: in features it is written as
null, and read as NaN again. The key of contents names the part, too; a message of that key without a value says that it
was erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from trimtab.clock import to_micros
from trimtab.stores.predictions.contract import ADDED, COLUMNS
from trimtab.stores.predictions.packed_rows import RowPacker, rows_of

RESPONSE = "org.kubeflow.serving.inference.response"
LABEL, TURN, CONTENT = "trimtab.serving.label", "trimtab.serving.turn", "trimtab.serving.content"
VARINT, OVERHEAD = 5, 36
"""Most bytes of a length, and of the parts of a record of Kafka's format 2 other than key, value and headers."""


class Event(NamedTuple):
    """One message for Kafka; timestamp in milliseconds since the epoch."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]
    timestamp: int

    @property
    def size(self) -> int:
        """Bytes of the message at most: its parts, each with the largest length before it that the format can need."""
        headers = sum(len(name.encode()) + len(value or b"") + 2 * VARINT for name, value in self.headers)
        return OVERHEAD + len(self.key) + len(self.value or b"") + headers


def _struct(kind: str) -> type[msgspec.Struct]:
    """Return the type of the JSON value of a kind of rows; columns that earlier releases lack may be missing."""
    missing, fields = {*ADDED[kind], *(("model",) if kind == "labels" else ())}, list[tuple[Any, ...]]()
    for name, type_ in COLUMNS[kind].items():
        plain = _JSON[type_.removesuffix("?")]
        given: Any = plain | None if type_.endswith("?") else plain
        fields.append((name, given, None) if name in missing else (name, given))
    return msgspec.defstruct(kind, fields, frozen=True, kw_only=True)


_JSON: dict[str, Any] = {
    "text": str,
    "bool": bool,
    "int32": int,
    "int64": int,
    "time": datetime,
    "float64": float,
    "pairs": dict[str, str | None],
    "vector": list[float | None],
    "doubles": list[float],
    "bytes": bytes,
    "texts": list[str],
}
_STRUCTS = {kind: _struct(kind) for kind in COLUMNS}


class Events:
    """Makes events of the columns that a log is given, after the checks that every backend makes."""

    def __init__(self, writer: str) -> None:
        self._source = f"/trimtab/{writer}"
        self._packers = {kind: RowPacker(kind) for kind in COLUMNS}

    def predictions(self, columns: Mapping[str, Sequence[Any]]) -> list[Event]:
        """Return one event a row. Raises DataError naming the column that does not fit."""
        return list(map(self._prediction, self._rows(columns, "predictions")))

    def labels(self, columns: Mapping[str, Sequence[Any]]) -> list[Event]:
        """Return one event a row. Raises DataError naming the column that does not fit."""
        return list(map(self._label, self._rows(columns, "labels")))

    def turns(self, columns: Mapping[str, Sequence[Any]]) -> list[Event]:
        """Return one event a row. Raises DataError naming the column that does not fit."""
        return [self._of_turn(row, TURN) for row in self._rows(columns, "turns")]

    def contents(self, columns: Mapping[str, Sequence[Any]]) -> list[Event]:
        """Return one event a row. Raises DataError naming the column that does not fit."""
        return [self._of_turn(row, CONTENT)._replace(key=content_key(row)) for row in self._rows(columns, "contents")]

    def _rows(self, columns: Mapping[str, Sequence[Any]], kind: str) -> list[dict[str, Any]]:
        """Return rows as every backend takes them: float32 features, checked types."""
        packed = bytearray()
        self._packers[kind].pack_into(packed, 0, columns)
        return rows_of(packed, kind)

    def _prediction(self, row: dict[str, Any]) -> Event:
        model, role = row["model"], row["role"]
        headers = _headers(row, f"{self._source}/models/{model}/versions/{row['version']}", RESPONSE, "logged_at")
        headers += [("ce_inferenceservicename", model), ("ce_endpoint", "default" if role == "champion" else role)]
        entities = None if row["entities"] is None else dict(row["entities"])
        return _event(row | {"entities": entities}, headers, "logged_at")

    def _of_turn(self, row: dict[str, Any], kind: str) -> Event:
        source = f"{self._source}/models/{row['model']}/versions/{row['version']}"
        return _event(row, [*_headers(row, source, kind, "at"), ("ce_inferenceservicename", row["model"])], "at")

    def _label(self, row: dict[str, Any]) -> Event:
        model = row["model"]
        source = f"{self._source}/labels" if model is None else f"{self._source}/models/{model}/labels"
        headers = _headers(row, source, LABEL, "received_at")
        if model is not None:
            headers.append(("ce_inferenceservicename", model))
        return _event(row, headers, "received_at")


def content_key(row: Mapping[str, Any]) -> bytes:
    """Return the key of the message of a part of a turn."""
    return f"{row['prediction_id']}/{row['version']}/{row['part']}".encode()


def row_of(value: bytes, kind: str) -> dict[str, Any]:
    """Return the row of an event's value, as pyarrow takes it. Raises msgspec.ValidationError or DecodeError."""
    row = msgspec.structs.asdict(msgspec.json.decode(value, type=_STRUCTS[kind]))
    if kind == "predictions":
        row["entities"] = None if row["entities"] is None else list(row["entities"].items())
        if row["features"] is not None:
            row["features"] = [float("nan") if value is None else value for value in row["features"]]
    return row


def _headers(row: dict[str, Any], source: str, kind: str, time: str) -> list[tuple[str, str | bytes | None]]:
    return [
        ("ce_specversion", "1.0"),
        ("ce_id", row["prediction_id"]),
        ("ce_source", source),
        ("ce_type", kind),
        ("ce_time", row[time].isoformat().replace("+00:00", "Z")),
        ("content-type", "application/json"),
    ]


def _event(row: dict[str, Any], headers: list[tuple[str, str | bytes | None]], time: str) -> Event:
    timestamp = max(to_micros(row[time]) // 1000, 0)
    return Event(row["prediction_id"].encode(), msgspec.json.encode(row), headers, timestamp)
