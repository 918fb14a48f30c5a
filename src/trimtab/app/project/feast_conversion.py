"""Writes the definitions of a Feast repository as Trimtab's, and lists what has no counterpart."""

from __future__ import annotations

import itertools
import json
import keyword
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from trimtab import units
from trimtab.app.project.definitions_file import DEFINITIONS, load_definitions
from trimtab.app.project.feast_repository import DataSource, Described, OnDemandView, Repository, Service, View
from trimtab.definitions.sources import FORMATS
from trimtab.errors import DefinitionError, StageError, nearest

TYPES = ("BOOL", "DOUBLE", "FLOAT", "INT32", "INT64", "STRING", "UNIX_TIMESTAMP")
"""Value types of Feast that a feature can have."""
FUNCTIONS = {
    "avg": "mean",
    "count_distinct": "distinct",
    "first": "first",
    "last": "last",
    "max": "max",
    "mean": "mean",
    "min": "min",
    "std": "std",
    "stddev": "std",
    "sum": "sum",
}
"""Feast's aggregations, and the functions that make them."""
LINE = 110
"""Characters of a line of definitions."""
PASSWORD = "FEAST_POSTGRES_PASSWORD"


class Item(msgspec.Struct, frozen=True):
    """An object of the repository, and what became of it. kind: its class in Feast."""

    kind: str
    name: str
    why: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """Definitions that load, and how they relate to the repository.

    Args:
        project: name of the project in Feast.
        text: the definitions.
        converted: by kind, the number of objects.
        left_out: what has no counterpart, wholly or in part.
        differs: what was converted and can give other values than in Feast.
    """

    project: str
    text: str
    converted: dict[str, int]
    left_out: list[Item]
    differs: list[Item]


def convert(found: Repository, folder: Path, *, base: Path, known_at_created: bool = False) -> Imported:
    """Return the definitions of a repository.

    Args:
        found: what the repository defines.
        folder: of the repository, which paths of files are relative to.
        base: folder that the paths in the definitions are relative to.
        known_at_created: take created timestamps as the times at which rows became known.

    Raises:
        StageError: the definitions do not load.
    """
    made = _Conversion(found, folder.absolute(), base.absolute(), known_at_created).run()
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / DEFINITIONS).write_text(made.text, encoding="utf-8")
        try:
            load_definitions(Path(place))
        except DefinitionError as error:
            raise StageError(f"the repository has something that cannot be written here: {error}") from None
    return made


@dataclass
class _Conversion:
    """One conversion, which gathers lines and items."""

    found: Repository
    folder: Path
    base: Path
    known_at_created: bool
    lines: list[str] = field(default_factory=list)
    converted: dict[str, int] = field(default_factory=dict)
    left_out: list[Item] = field(default_factory=list)
    differs: list[Item] = field(default_factory=list)
    variables: dict[tuple[str, str], str] = field(default_factory=dict)
    """(kind, name in Feast) -> variable in the text."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """Kind -> names of its objects in the text."""
    features: dict[str, list[str]] = field(default_factory=dict)
    """View -> features that were converted."""

    def run(self) -> Imported:
        """Write everything."""
        found = self.found
        title = f"Definitions of Feast's project {found.project}, read by Feast {found.feast}: trimtab features"
        self.lines += [f'"""{title} import-feast."""', "", "import trimtab as tt"]
        views = [view for view in found.views if self._can(view)]
        self._entities(views)
        self._sources(views)
        for view in views:
            self._view(view)
        for transform in found.on_demand:
            self._on_demand(transform)
        for service in found.services:
            self._service(service)
        self.left_out += [Item(each.kind, each.name, "it has no counterpart") for each in found.others]
        return Imported(
            project=found.project,
            text="\n".join(self.lines) + "\n",
            converted=self.converted,
            left_out=self.left_out,
            differs=self.differs,
        )

    def _can(self, view: View) -> bool:
        """Return True if a view can be converted; else report why not, and keep its code as a comment."""
        source = self._source_of(view)
        why = ""
        if view.over:
            why = f"it is computed from other views ({', '.join(view.over)}) by Feast's engine"
        elif view.code:
            why = "its values come from code; compute the column in a source's table, or write a tt.on_demand transform"
        elif not view.entities:
            why = "it has no entity; a view needs one"
        elif source is None:
            why = "it has no source"
        elif not (source.timestamp or view.timestamp):
            why = f"its source {source.name} has no timestamp_field"
        elif set(view.join_keys) & set(source.field_mapping.values()):
            mapped = next(raw for raw, name in source.field_mapping.items() if name in view.join_keys)
            why = f"its join key is column '{mapped}' by a field_mapping; rename the column in the source"
        elif not self._aggregations(view):
            why = f"none of its features can be converted{': ' + view.problem if view.problem else ''}"
        if not why:
            return True
        self.left_out.append(Item(view.kind, view.name, why))
        if view.code:
            self._comment(f"{view.kind} {view.name}: {why}. Its text in Feast:", view.code)
        return False

    def _source_of(self, view: View) -> DataSource | None:
        """Return the source that a view's rows are read from: a stream's own topic, else the table of the past."""
        by_name = {source.name: source for source in self.found.sources}
        stream = by_name.get(view.stream_source)
        if stream is not None and view.aggregations and _is_readable_stream(stream):
            return stream
        return by_name.get(view.source)

    def _entities(self, views: Sequence[View]) -> None:
        described = {entity.name: entity for entity in self.found.entities}
        for view in views:
            entity = "_".join(view.entities)
            if ("entity", entity) in self.variables:
                continue
            self.lines.append("")
            for each in view.entities:
                if each in described and described[each].description:
                    self.lines.append(f"# {_one_line(described[each].description)}")
            name = self._name("Entity", entity)
            keys = view.join_keys if view.join_keys != [name] else None
            self._write(self._variable("entity", entity), "Entity", [_text(name)], keys=keys)
            self._count("Entity")

    def _sources(self, views: Sequence[View]) -> None:
        used = {source.name: source for view in views if (source := self._source_of(view)) is not None}
        for source in used.values():
            self._source(source, [view for view in views if self._source_of(view) is source])
        for source in self.found.sources:
            if source.name in used or source.kind == "RequestSource":
                continue
            why = "no view that was converted reads it"
            stream = next((each.name for each in used.values() if each.batch_source == source.name), None)
            if stream is not None:
                why = (
                    f"views read {stream} alone, so its rows of the past are missing; send them through the topic, too"
                )
            if source.batch_source in used:
                why = (
                    f"views read its batch source {source.batch_source} alone; for rows that arrive one by one give "
                    "them a tt.PushSource or tt.KafkaSource as their source"
                )
            self.left_out.append(Item(source.kind, source.name, why))

    def _source(self, source: DataSource, views: Sequence[View]) -> None:
        keys = list(dict.fromkeys(key for view in views for key in view.join_keys))
        timestamp = source.timestamp or next(view.timestamp for view in views if view.timestamp)
        shared: dict[str, Any] = {"timestamp": timestamp}
        if source.created and self.known_at_created:
            shared |= {"known_at": source.created, "key": [*keys, timestamp]}
            why = f"rows count from '{source.created}' on, as with Feast's filter_by_created_timestamp"
            self.differs.append(Item(source.kind, source.name, why))
        elif source.created:
            why = (
                f"of rows with one key and timestamp Feast takes the one with the latest '{source.created}', here the "
                "one that was ingested last counts. If the column holds when rows became known, use --known-at-created"
            )
            self.differs.append(Item(source.kind, source.name, why))
        kind, first, own = self._kind_of(source, [*keys, timestamp])
        self.lines.append("")
        name = self._variable("source", source.name)
        own_name = _text(self._name(source.kind, source.name))
        self._write(name, kind, [own_name, *first], **{**own, **shared, **_words(source)})
        self._count(kind)

    def _kind_of(self, source: DataSource, key: list[str]) -> tuple[str, list[str], dict[str, Any]]:
        """Return the kind of source here, its further arguments, and those by name. Reports what has none."""
        if source.kind == "FileSource" and source.format in ("", "ParquetFormat"):
            if source.endpoint:
                why = f"s3_endpoint_override '{source.endpoint}' is set by the environment here, not by a definition"
                self.left_out.append(Item(source.kind, source.name, why))
            path = self._path(source.path)
            last = path.rstrip("/").rsplit("/", 1)[-1]
            if path.endswith((*FORMATS, "*")) or "." not in last:
                return "FileSource", [_text(path)], {}
        if source.kind == "KafkaSource":
            return "KafkaSource", [_text(source.topic), _text(source.servers)], {}
        if source.kind == "PostgreSQLSource" and (source.table or source.query):
            at = self.found.connection
            user, host, database = (at.get(name, name.upper()) for name in ("user", "host", "database"))
            url = f"postgresql://{user}:${{{PASSWORD}}}@{host}:{at.get('port', 5432)}/{database}"
            why = f"all rows are read at each ingest, with the password in {PASSWORD}; name a cursor to read new ones"
            self.differs.append(Item(source.kind, source.name, why))
            rows = {"query": source.query} if source.query else {"table": source.table}
            return "SQLSource", [], {"connection": url, **rows, "key": key}
        place, what = f"data/{_valid(source.name)}", "no connector reads it"
        if source.kind == "FileSource":
            place, what = f"{place}_parquet", f"'{source.path}' is no file of a format that is read"
        self.left_out.append(Item(source.kind, source.name, f"{what}; export its rows to {place} as Parquet files"))
        return "FileSource", [_text(place)], {}

    def _path(self, path: str) -> str:
        """Return the path of a file as definitions have it: relative where the file is in the project."""
        if "://" in path:
            return path.removeprefix("file://")
        whole = Path(os.path.normpath(self.folder / path))
        return whole.relative_to(self.base).as_posix() if whole.is_relative_to(self.base) else whole.as_posix()

    def _aggregations(self, view: View, *, report: bool = False) -> dict[str, str]:
        """Return the features of a view: name -> the call that makes it; plain latest values have an empty one."""
        source = self._source_of(view)
        raw = {name: column for column, name in source.field_mapping.items()} if source is not None else {}
        calls: dict[str, str] = {}
        why: dict[str, str] = {}
        if view.aggregations:
            for each in view.aggregations:
                name = each.name or f"{each.function}_{each.column}"
                call = _aggregation(each.function, raw.get(each.column, each.column), each.window, name)
                if call is None:
                    hint = (
                        nearest(each.function, [*FUNCTIONS, "count", "median"]) if each.window else " It has no window."
                    )
                    why[name] = f"feature {name}: there is no counterpart of {each.function}({each.column}).{hint}"
                else:
                    calls[name] = call
        else:
            for one in view.fields:
                if one.type not in TYPES:
                    why[one.name] = (
                        f"feature {one.name} is of type {one.type}; features are numbers, booleans, texts and times"
                    )
                elif one.name in raw:
                    calls[one.name] = f"tt.last({_text(raw[one.name])}, name={_text(one.name)})"
                else:
                    calls[one.name] = ""
        if report:
            self.left_out += [Item(view.kind, view.name, each) for each in why.values()]
        return calls

    def _view(self, view: View) -> None:
        source = self._source_of(view)
        assert source is not None  # `_can` has seen to it
        calls = self._aggregations(view, report=True)
        self.features[view.name] = list(calls)
        features = []
        for latest, named in itertools.groupby(calls.items(), key=lambda item: not item[1]):
            group = list(named)
            names = ", ".join(_text(name) for name, _ in group)
            features += [f"tt.last({names})"] if latest else [call for _, call in group]
        slides = {each.slide for each in view.aggregations if each.slide not in (0, each.window)}
        every = units.short(slides.pop()) if len(slides) == 1 else None
        if view.aggregations:
            why = "windows end at the time of the read" if every is None else f"values change every {every}"
            self.differs.append(Item(view.kind, view.name, f"{why}; Feast leaves it to the engine"))
        if any(each.type in ("BOOL", "INT64") and each.name in calls for each in view.fields):
            why = "booleans and whole numbers are float64 here: 1 and 0, and exact up to 2^53"
            self.differs.append(Item(view.kind, view.name, why))
        if view.ttl:
            ttl = units.short(view.ttl)
            why = f"values count for less than {ttl}, online too; in Feast for {ttl}, and online for ever"
            self.differs.append(Item(view.kind, view.name, why))
        self.lines.append("")
        variable = self._variable("view", view.name)
        entity = self.variables["entity", "_".join(view.entities)]
        given = [_text(self._name(view.kind, view.name)), entity, self.variables["source", source.name]]
        written = features[0] if len(features) == 1 else _list(features)
        if len(written) > LINE and len(features) > 1:
            written = "[\n" + "".join(f"        {each},\n" for each in features) + "    ]"
        self._write(
            variable,
            "FeatureView",
            [*given, written],
            ttl=units.short(view.ttl) if view.ttl else None,
            every=every,
            **_words(view),
            descriptions={
                each.name: each.description for each in view.fields if each.description and each.name in calls
            },
        )
        self._count("FeatureView")

    def _on_demand(self, view: OnDemandView) -> None:
        why = "its code takes a pandas or Python form; write it as a function of NumPy arrays (it is kept as a comment)"
        self.left_out.append(Item("OnDemandFeatureView", view.name, why))
        takes = [name.replace(":", "__") for name in view.takes]
        intro = f"On-demand feature view {view.name} ({view.mode}). Here: @tt.on_demand(inputs=[...], outputs=[...])"
        self._comment(f"{intro}\n  inputs: {', '.join(takes)}\n  outputs: {', '.join(view.gives)}", view.code)

    def _service(self, service: Service) -> None:
        given, why = [], []
        on_demand = {each.name for each in self.found.on_demand}
        for part in service.views:
            own = self.features.get(part.name)
            if part.name in on_demand:
                why.append(f"without {part.name}, an on-demand feature view")
            elif own is None:
                why.append(f"without {part.name}, which was not converted")
            elif part.alias or part.join_keys:
                why.append(f"without {part.name} under another name or with other join keys")
            else:
                variable = self.variables["view", part.name]
                chosen = [name for name in part.features or own if name in own]
                if lost := [name for name in part.features if name not in own]:
                    why.append(f"without {', '.join(f'{part.name}:{name}' for name in lost)}")
                if chosen:
                    given.append(variable if chosen == own else f"{variable}[{_list([_text(c) for c in chosen])}]")
        why += [f"without {name}, which the registry alone resolves" for name in service.unresolved]
        if why:
            self.left_out.append(Item("FeatureService", service.name, "; ".join(why)))
        if given:
            self.lines.append("")
            variable = self._variable("service", service.name)
            own_name = _text(self._name("FeatureService", service.name))
            self._write(variable, "FeatureService", [own_name, _list(given)], **_words(service))
            self._count("FeatureService")

    def _name(self, kind: str, name: str) -> str:
        """Return a name that definitions allow, another one for each object of a kind."""
        family = "Source" if kind.endswith("Source") else kind.removeprefix("Stream").removeprefix("Batch")
        taken = self.names.setdefault(family, set())
        made = _free(_valid(name), "", taken)
        taken.add(made)
        if made != name:
            self.differs.append(Item(kind, name, f"it is named {made} here"))
        return made

    def _variable(self, kind: str, name: str) -> str:
        """Return a free variable for an object."""
        taken = {*self.variables.values(), "tt", *keyword.kwlist}
        self.variables[kind, name] = _free(_valid(name), f"_{kind}", taken)
        return self.variables[kind, name]

    def _count(self, kind: str) -> None:
        self.converted[kind] = self.converted.get(kind, 0) + 1

    def _write(self, variable: str, function: str, given: Iterable[str], **options: Any) -> None:
        """Write a call, on one line where it fits."""
        named = [f"{name}={_value(value)}" for name, value in options.items() if value]
        arguments = [*given, *named]
        line = f"{variable} = tt.{function}({', '.join(arguments)})"
        if len(line) <= LINE:
            self.lines.append(line)
            return
        self.lines += [f"{variable} = tt.{function}(", *(f"    {each}," for each in arguments), ")"]

    def _comment(self, intro: str, code: str) -> None:
        """Write a text as a comment."""
        self.lines += ["", *(f"# {line}".rstrip() for line in (*intro.splitlines(), *code.rstrip().splitlines()))]


def _is_readable_stream(source: DataSource) -> bool:
    return source.kind == "KafkaSource" and source.message == "JsonFormat" and bool(source.topic and source.servers)


def _aggregation(function: str, column: str, window: int, name: str) -> str | None:
    """Return the call that makes an aggregation; None if there is none."""
    named = f"name={_text(name)}"
    if function == "count" and window:
        if not column or column == "*":
            return f"tt.count({_text(units.short(window))}, {named})"
        if not column.isidentifier():
            return None
        return f"tt.count({_text(units.short(window))}, where={_text(f'{column} is not None')}, {named})"
    if function == "median" and window:
        return f"tt.quantile({_text(column)}, 0.5, {_text(units.short(window))}, {named})"
    here = FUNCTIONS.get(function)
    if here in ("first", "last"):
        size = f"window={_text(units.short(window))}, " if window else ""
        return f"tt.{here}({_text(column)}, {size}{named})"
    return f"tt.{here}({_text(column)}, {_text(units.short(window))}, {named})" if here and window else None


def _valid(name: str) -> str:
    """Return a name of letters, digits and single underscores. A path gives the name of its file."""
    stem = name.rstrip("/").rsplit("/", 1)[-1]
    stem = re.sub(r"\.(parquet|csv|jsonl|ndjson)$", "", stem)
    made = re.sub(r"_+", "_", re.sub(r"\W", "_", stem)).strip("_") or "unnamed"
    return f"n{made}" if made[0].isdigit() else made


def _free(name: str, ending: str, taken: set[str]) -> str:
    """Return a name that is not taken: itself, or with an ending, or with a number."""
    if name not in taken or (name := f"{name}{ending}") not in taken:
        return name
    return next(free for n in itertools.count(2) if (free := f"{name}_{n}") not in taken)


def _words(item: Described) -> dict[str, Any]:
    tags = [f"{name}={value}" if value else name for name, value in item.tags.items()]
    return {"description": item.description, "owner": item.owner, "tags": tags}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(name)}: {_text(text)}" for name, text in value.items()) + "}"
    return _list([_text(each) for each in value])
