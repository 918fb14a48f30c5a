"""Opens the connector of a source: one row for each kind, whose file is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from trimtab.data.connectors.contract import Access, Connector
from trimtab.data.connectors.micro_batches import StreamConnector
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError

CONNECTORS: dict[str, str] = {
    "KafkaSource": "trimtab.data.connectors.kafka:KafkaConnector",
    "PushSource": "trimtab.data.connectors.push:PushConnector",
    "RESTSource": "trimtab.data.connectors.rest:RestConnector",
    "SQLSource": "trimtab.data.connectors.databases:SQLConnector",
}
"""Class of a source -> the connector's module and class, which takes the source and an `Access`."""


def open_connector(source: Source, access: Access) -> Connector | StreamConnector:
    """Return the connector of a source. Raises DefinitionError when sources of its kind are not pulled."""
    kind = type(source).__name__
    if kind not in CONNECTORS:
        raise DefinitionError(f"{source.where}: rows of a {kind} are not pulled; expected one of {sorted(CONNECTORS)}")
    module, name = CONNECTORS[kind].split(":")
    return cast(Connector | StreamConnector, getattr(import_module(module), name)(source, access))
