"""The graph from sources to the versions of models, with a place for each node: columns from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound, nearest
from trimtab.records.data import TableVersion
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.metadata.contract import latest

NodeKind = Literal["source", "table", "view", "dataset", "version"]
COLUMNS: tuple[NodeKind, ...] = ("source", "table", "view", "dataset", "version")
MOST_NODES = 60
NEWEST_VERSIONS = 10
"""Of each model."""
WIDTH, HEIGHT = 168, 28
"""Of a node, in pixels."""
GAP_X, GAP_Y = 56, 12
"""Between columns, and between nodes of a column."""
SHOWN_HASH = 12


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node. id: its kind and name. x, y: of its upper left corner, in pixels."""

    id: str
    kind: NodeKind
    name: str
    text: str
    path: str
    x: int = 0
    y: int = 0


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """From what something is made to it. x1, y1, x2, y2: its ends, in pixels."""

    start: str
    end: str
    x1: int = 0
    y1: int = 0
    x2: int = 0
    y2: int = 0


class DataGraph(msgspec.Struct, frozen=True, kw_only=True):
    """The graph, or the neighbourhood of one of its nodes."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    all_nodes: int
    around: str | None
    """The node whose neighbours are shown; None: all nodes are."""
    width: int
    height: int


def data_graph(workspace: Workspace, around: str | None = None, *, models: Sequence[str] = ()) -> DataGraph:
    """Return the graph of sources, tables, views, training sets and versions.

    Args:
        workspace: an open project.
        around: id of a node; then its neighbours are shown, further ones as long as there is room.
        models: whose training sets and versions are shown; empty for all.

    Raises:
        NotFound: there is no such node.
    """
    nodes, pairs = _whole(workspace, models)
    if around is not None and around not in nodes:
        raise NotFound(f"the graph has no node '{around}'.{nearest(around, nodes)}")
    if around is None and len(nodes) > MOST_NODES:
        around = next((id_ for id_ in nodes if id_.startswith("version:")), next(iter(nodes)))
    kept = set(nodes) if around is None else _near(around, pairs)
    return _placed([nodes[id_] for id_ in nodes if id_ in kept], pairs, all_nodes=len(nodes), around=around)


def _whole(workspace: Workspace, models: Sequence[str]) -> tuple[dict[str, GraphNode], set[tuple[str, str]]]:
    definitions, metadata = workspace.project.definitions, workspace.metadata
    nodes, pairs = dict[str, GraphNode](), set[tuple[str, str]]()

    def add(kind: NodeKind, name: str, text: str, path: str) -> str:
        id_ = f"{kind}:{name}"
        nodes.setdefault(id_, GraphNode(id=id_, kind=kind, name=name, text=text, path=path))
        return id_

    def table(name: str) -> str:
        newest = latest(metadata, TableVersion, table=name)
        source = definitions.sources.get(name)
        id_ = add("table", name, f"{name}@{newest.version}" if newest else name, f"/data/tables/{name}")
        if source is not None:
            pairs.add((add("source", name, f"{name} ({type(source).__name__})", f"/data/tables/{name}"), id_))
        return id_

    for name in definitions.sources:
        table(name)
    for view in definitions.views.values():
        id_ = add("view", view.name, view.name, f"/data/views/{view.name}")
        pairs.add((f"view:{view.over.name}" if view.over else table(view.source.name), id_))
    for model in definitions.models if not models else [name for name in models if name in definitions.models]:
        for bundle in metadata.find(Bundle, model=model, limit=NEWEST_VERSIONS):
            found = metadata.get(DatasetVersion, bundle.dataset)
            text = f"{found.id[:SHOWN_HASH]}"
            dataset = add("dataset", found.id, text, f"/lineage/{found.id}")
            path = f"/models/{bundle.model}/versions/{bundle.version}"
            pairs.add((dataset, add("version", bundle.id, bundle.id, path)))
            views = {each.partition("@")[0] for each in found.views}
            for view_name in views:
                pairs.add((add("view", view_name, view_name, f"/data/views/{view_name}"), dataset))
            of_views = {definitions.views[name].source.name for name in views if name in definitions.views}
            pairs.update((table(name), dataset) for name in found.tables if name not in of_views)
    return nodes, pairs


def _near(around: str, pairs: Iterable[tuple[str, str]]) -> set[str]:
    """Return a node with its neighbours, and with theirs as long as not more than MOST_NODES are shown."""
    links: dict[str, set[str]] = {}
    for start, end in pairs:
        links.setdefault(start, set()).add(end)
        links.setdefault(end, set()).add(start)
    kept, rim = {around}, {around}
    while rim:
        further = {each for node in rim for each in links.get(node, ())} - kept
        if len(kept) + len(further) > MOST_NODES:
            return kept | set(sorted(further)[: MOST_NODES - len(kept)]) if len(kept) == 1 else kept
        kept |= further
        rim = further
    return kept


def _placed(
    nodes: Sequence[GraphNode], pairs: Iterable[tuple[str, str]], *, all_nodes: int, around: str | None
) -> DataGraph:
    """Return the graph with places: a column a kind, each node near the middle of those that it is made of."""
    ids = {node.id for node in nodes}
    inner = sorted((start, end) for start, end in pairs if start in ids and end in ids)
    rows: dict[str, float] = {}
    places: dict[str, GraphNode] = {}
    for column, kind in enumerate(kind for kind in COLUMNS if any(node.kind == kind for node in nodes)):
        own = [node for node in nodes if node.kind == kind]
        wanted = {
            node.id: _middle([rows[start] for start, end in inner if end == node.id and start in rows]) for node in own
        }
        for row, node in enumerate(sorted(own, key=lambda node: wanted[node.id])):
            rows[node.id] = float(row)
            places[node.id] = msgspec.structs.replace(node, x=column * (WIDTH + GAP_X), y=row * (HEIGHT + GAP_Y))
    edges = tuple(
        GraphEdge(
            start=start,
            end=end,
            x1=places[start].x + WIDTH,
            y1=places[start].y + HEIGHT // 2,
            x2=places[end].x,
            y2=places[end].y + HEIGHT // 2,
        )
        for start, end in inner
    )
    return DataGraph(
        nodes=tuple(places.values()),
        edges=edges,
        all_nodes=all_nodes,
        around=around,
        width=max((node.x for node in places.values()), default=0) + WIDTH,
        height=max((node.y for node in places.values()), default=0) + HEIGHT,
    )


def _middle(rows: Sequence[float]) -> float:
    return sum(rows) / len(rows) if rows else 0.0
