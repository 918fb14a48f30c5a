"""Lists views, shows one, and finds features by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.reports.feature_catalog import FeatureStats, ViewFacts, view_facts
from trimtab.app.reports.view_list import Found, ViewRow, list_views, search
from trimtab.cli.context import Context, Verbs
from trimtab.cli.terminal import console
from trimtab.cli.views import table
from trimtab.definitions.personal_columns import MASK
from trimtab.units import plural

app = Verbs()

TIME = "%Y-%m-%d %H:%M"
ViewName = Annotated[str, typer.Argument(metavar="VIEW", help="Name of a view.")]


@app.verb(name="list")
def list_(context: Context) -> None:
    """List views with their owners, versions, models and freshness."""
    context.show(list_views(context.workspace), _show_list)


@app.verb(name="show")
def show(context: Context, view: ViewName) -> None:
    """Show a view: features, versions, users, freshness, statistics and lineage."""
    context.show(view_facts(context.workspace, view), _show_view)


@app.verb(name="search")
def search_(
    context: Context, text: Annotated[str, typer.Argument(metavar="TEXT", help="Words, in any order.")]
) -> None:
    """Find views, features and services whose names, descriptions, owners, tags or columns have some words."""
    context.show(search(context.workspace, text), _show_found)


def _show_list(rows: Sequence[ViewRow]) -> None:
    if not rows:
        console.print("no view is defined")
        return
    made = table("Views", "view", "entity", "source", ">features", "version", "models", "owner", "tags", "values until")
    for row in rows:
        name = f"[dim]{escape(row.view)} (deprecated)[/]" if row.deprecated else escape(row.view)
        made.add_row(
            name,
            escape(row.entity),
            escape(row.source if row.over is None else f"view {row.over}"),
            str(row.features),
            row.version.partition("@")[2],
            escape(", ".join(row.models)) or "-",
            escape(row.owner) or "-",
            escape(", ".join(row.tags)) or "-",
            "never computed" if row.fresh_until is None else f"{row.fresh_until:{TIME}}",
        )
    console.print(made)


def _show_view(found: ViewFacts) -> None:
    row = found.row
    console.print(f"[bold]{escape(row.view)}[/]  {escape(row.description)}", soft_wrap=True, highlight=False)
    if row.deprecated:
        console.print(f"[yellow]deprecated: {escape(row.deprecated)}[/]", soft_wrap=True)
    facts = {
        "version": row.version,
        "entity": f"{row.entity} ({', '.join(found.keys)})",
        "source": found.source,
        "table": found.table or "nothing is ingested yet",
        "options": ", ".join(f"{name}={value}" for name, value in found.options.items()) or "-",
        "owner": row.owner or "-",
        "tags": ", ".join(row.tags) or "-",
        "models": ", ".join(row.models) or "-",
        "services": ", ".join(row.services) or "-",
        "values until": "never computed" if row.fresh_until is None else f"{row.fresh_until:{TIME}} UTC",
        "rows until": "-" if found.rows_until is None else f"{found.rows_until:{TIME}} UTC",
    }
    for name, value in facts.items():
        console.print(f"  {name:<14}{escape(value)}", soft_wrap=True, highlight=False)
    made = table("Features", "feature", "definition", "description", *_STATS)
    for feature in found.features:
        made.add_row(
            escape(feature.feature), escape(feature.definition), escape(feature.description), *_numbers(feature.stats)
        )
    console.print(made)
    console.print(f"statistics of {found.dataset}" if found.dataset else "no training set has this view yet")
    versions = table("Versions", "version", "since", ">features", "bundles", "in service")
    for each in found.versions:
        name = f"{each.version}  (defined now)" if each.version == row.version else each.version
        serving, bundles = ", ".join(each.in_service), plural(len(each.bundles), "bundle")
        versions.add_row(escape(name), f"{each.created:{TIME}}", str(each.features), bundles, escape(serving) or "-")
    console.print(versions)


_STATS = (">null", ">mean", ">std", ">least", ">median", ">most")


def _numbers(stats: FeatureStats | None) -> list[str]:
    if stats is None:
        return ["-"] * len(_STATS)
    values = (stats.mean, stats.std, stats.least, stats.median, stats.most)
    return [
        f"{stats.null:.1%}",
        *(MASK if stats.hidden else "-" if value is None else f"{value:.4g}" for value in values),
    ]


def _show_found(found: Sequence[Found]) -> None:
    if not found:
        console.print("nothing has these words")
        return
    made = table("", "kind", "name", "what it is", "models")
    for each in found:
        made.add_row(each.kind, escape(each.name), escape(each.text), escape(", ".join(each.models)) or "-")
    console.print(made)
