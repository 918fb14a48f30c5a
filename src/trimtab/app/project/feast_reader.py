"""Writes what a Feast repository defines as JSON: python feast_reader.py REPOSITORY FILE.

It runs in the Python that has Feast and imports nothing of Trimtab. The Python files of the repository are run, as
`feast apply` does. Neither data nor passwords are written.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import feast
from feast.repo_config import load_repo_config
from feast.repo_operations import parse_repo

CONFIGURATION = "feature_store.yaml"
DUMMY_ENTITY = "__dummy"
"""The entity of views that have none."""
CONNECTION = ("host", "port", "database", "user")
"""Settings of an offline store that say where it is; its password is left out."""


def main(repository: Path, file: Path) -> None:
    """Read a repository; write what it defines into a file."""
    os.chdir(repository)  # Feast names modules relative to the working folder
    sys.path.insert(0, str(repository))
    sys.dont_write_bytecode = True
    with contextlib.redirect_stdout(sys.stderr):  # what the repository prints
        config = load_repo_config(repository, repository / CONFIGURATION)
        found = parse_repo(repository)
    joins = {entity.name: entity.join_key for entity in found.entities}
    views = [*found.feature_views, *found.stream_feature_views]
    sources = {source.name: source for source in found.data_sources}
    for view in views:
        for source in (view.batch_source, view.stream_source):
            if source is not None:
                sources.setdefault(source.name, source)
    others = {
        "Permission": found.permissions,
        "LabelView": getattr(found, "label_views", []),
    }
    offline = config.offline_store
    content = {
        "feast": feast.__version__,
        "project": config.project,
        "offline_store": str(getattr(offline, "type", "")),
        "connection": {name: getattr(offline, name) for name in CONNECTION if hasattr(offline, name)},
        "entities": [
            {**words(entity), "join_key": entity.join_key} for entity in found.entities if entity.name != DUMMY_ENTITY
        ],
        "sources": [source_facts(source) for source in sources.values()],
        "views": [view_facts(view, joins, config) for view in views],
        "on_demand": [on_demand_facts(view) for view in found.on_demand_feature_views],
        "services": [service_facts(service) for service in found.feature_services],
        "others": [{"kind": kind, "name": item.name} for kind, items in others.items() for item in items],
    }
    file.write_text(json.dumps(given(content), indent=1), encoding="utf-8")


def given(facts: Any) -> Any:
    """Return facts without empty values."""
    if isinstance(facts, list):
        return [given(each) for each in facts]
    return {name: given(value) for name, value in facts.items() if value} if isinstance(facts, dict) else facts


def words(item: Any) -> dict[str, Any]:
    """Return name, description, owner and tags of an object."""
    return {
        "name": item.name,
        "description": getattr(item, "description", "") or "",
        "owner": getattr(item, "owner", "") or "",
        "tags": dict(getattr(item, "tags", None) or {}),
    }


def source_facts(source: Any) -> dict[str, Any]:
    """Return the facts of a source of data. Each kind has a part of the keys."""
    kafka = getattr(source, "kafka_options", None)
    batch = getattr(source, "batch_source", None)
    message = getattr(kafka, "message_format", None)
    file_format = getattr(source, "file_format", None)
    facts = {
        **words(source),
        "kind": type(source).__name__,
        "timestamp": source.timestamp_field or "",
        "created": source.created_timestamp_column or "",
        "field_mapping": dict(source.field_mapping or {}),
        "path": str(getattr(source, "path", "") or ""),
        "format": "" if file_format is None else type(file_format).__name__,
        "endpoint": getattr(source, "s3_endpoint_override", "") or "",
        "batch_source": "" if batch is None else batch.name,
        "topic": getattr(kafka, "topic", "") or "",
        "servers": getattr(kafka, "kafka_bootstrap_servers", "") or "",
        "message": "" if message is None else type(message).__name__,
    }
    options = getattr(source, "_postgres_options", None)
    if options is not None:
        facts["table"], facts["query"] = options._table or "", options._query or ""
    else:
        facts["table"], facts["query"] = (str(getattr(source, name, "") or "") for name in ("table", "query"))
    return facts


def view_facts(view: Any, joins: dict[str, str], config: Any) -> dict[str, Any]:
    """Return the facts of a feature view of any kind that stores values."""
    stream = view.stream_source
    names = [name for name in view.entities if name != DUMMY_ENTITY]
    fields = [field_facts(field) for field in view.features]
    keys = [joins.get(name, name) for name in names]
    problem = ""
    if not fields and view.batch_source is not None:
        try:
            fields = inferred(view.batch_source, keys, config)
        except Exception as error:  # whatever a source raises that cannot be reached
            problem = f"{type(error).__name__}: {error}"
    return {
        **words(view),
        "kind": type(view).__name__,
        "source": "" if view.batch_source is None else view.batch_source.name,
        "stream_source": "" if stream is None else stream.name,
        "over": [each.name for each in getattr(view, "source_views", None) or []],
        "entities": names,
        "join_keys": keys,
        "ttl": micros(view.ttl),
        "fields": fields,
        "problem": problem,
        "timestamp": getattr(view, "timestamp_field", "") or "",
        "aggregations": [
            {
                "column": each.column,
                "function": each.function,
                "window": micros(each.time_window),
                "slide": micros(each.slide_interval),
                "name": each.resolved_name(each.time_window) if hasattr(each, "resolved_name") else "",
            }
            for each in getattr(view, "aggregations", None) or []
        ],
        "code": code_of(view),
    }


def inferred(source: Any, keys: list[str], config: Any) -> list[dict[str, str]]:
    """Return fields for the columns of a source that are neither keys nor times, as Feast infers them."""
    mapping, kind_of = source.field_mapping or {}, source.source_datatype_to_feast_value_type()
    times = {source.timestamp_field, source.created_timestamp_column, getattr(source, "date_partition_column", "")}
    return [
        {"name": mapping.get(name, name), "type": kind_of(str(kind)).name, "description": ""}
        for name, kind in source.get_table_column_names_and_types(config)
        if name not in times and mapping.get(name, name) not in keys
    ]


def field_facts(field: Any) -> dict[str, str]:
    """Return name, type and description of a field."""
    kind = field.dtype.to_value_type().name if hasattr(field.dtype, "to_value_type") else str(field.dtype)
    return {"name": field.name, "type": kind, "description": getattr(field, "description", "") or ""}


def code_of(view: Any) -> str:
    """Return the text of a view's transformation; empty without one."""
    found = getattr(view, "feature_transformation", None)
    text = getattr(found, "udf_string", "") or getattr(view, "udf_string", "") or ""
    if not text and (found is not None or getattr(view, "udf", None) is not None):
        return "its text is not known"
    return str(text)


def on_demand_facts(view: Any) -> dict[str, Any]:
    """Return the facts of an on-demand feature view."""
    requests = view.source_request_sources.values()
    return {
        **words(view),
        "mode": str(getattr(view, "mode", "")),
        "takes": [
            *(
                f"{each.name}:{field.name}"
                for each in view.source_feature_view_projections.values()
                for field in each.features
            ),
            *(field.name for each in requests for field in each.schema),
        ],
        "gives": [field.name for field in view.features],
        "code": code_of(view),
    }


def service_facts(service: Any) -> dict[str, Any]:
    """Return the facts of a feature service."""
    return {
        **words(service),
        "unresolved": list(getattr(service, "_pending_feature_refs", [])),
        "views": [
            {
                "name": each.name,
                "alias": each.name_alias or "",
                "features": [field.name for field in each.features] or list(each.desired_features),
                "join_keys": dict(each.join_key_map or {}),
            }
            for each in service.feature_view_projections
        ],
    }


def micros(duration: timedelta | None) -> int:
    """Return a duration in microseconds; 0 for none."""
    return 0 if duration is None else duration // timedelta(microseconds=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
