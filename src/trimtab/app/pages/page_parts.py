"""What a report consists of, and how it becomes one HTML file: style and charts are part of it, no script is needed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab import __version__
from trimtab.charts.svg import EXTRA, draw_svg, need_charts
from trimtab.charts.theme import DARK, LIGHT, Spec, css_variables
from trimtab.errors import MissingExtra
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = LazyLibrary("jinja2")

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table. tone: a use of the palette (pass, moderate, severe ...). code: written in fixed width."""

    text: str
    tone: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. text: aligned left, as words are; numbers are aligned right."""

    name: str
    text: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table. The first column is always aligned left."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with its heading and a sentence that says how to read it. tone: colour of its edge on a card."""

    chart: Spec
    heading: str = ""
    lead: str = ""
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what follows: text, charts (as cards, or at full width), a table, a list, a last remark."""

    heading: str
    lead: str = ""
    figures: Sequence[Figure] = ()
    cards: bool = False
    table: Table | None = None
    notes: Sequence[str] = ()
    foot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report.

    Attributes:
        title: of the document.
        sentence: answers the question of the report.
        tone: colour of the edge beside it.
        lead: text under the title.
        more: sentences under the first one.
        facts: label, figure and what to compare it with.
        foot: last remarks; the version of Trimtab is added.
    """

    title: str
    sentence: str
    tone: str = ""
    lead: str = ""
    more: Sequence[str] = ()
    facts: Sequence[tuple[str, str, str]] = ()
    sections: Sequence[Section | None] = ()
    foot: Sequence[str] = ()


def need_pages() -> None:
    """Raise MissingExtra when a library that pages need is not installed."""
    need_charts()
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtra("jinja2", EXTRA)


def write_page(page: Page) -> str:
    """Return a report as HTML. Text is escaped.

    Raises:
        MissingExtra: the extra `console` is not installed.
        StageError: a chart cannot be drawn.
    """
    need_pages()
    sections = [section for section in page.sections if section is not None]
    figures = [figure for section in sections for figure in section.figures]
    drawn = draw_svg([figure.chart for figure in figures])
    svgs = {id(figure): _inline(svg, n) for n, (figure, svg) in enumerate(zip(figures, drawn, strict=True))}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        page=page,
        sections=sections,
        svg=lambda figure: svgs[id(figure)],
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        version=__version__,
    )


def _inline(svg: str, number: int) -> str:
    """Return an SVG as part of a page: without namespaces, its ids unlike those of the other charts."""
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    return re.sub(r'(\bid="|url\(#)', rf"\1c{number}-", svg)
