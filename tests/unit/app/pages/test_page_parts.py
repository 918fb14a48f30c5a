"""A report is one file that stands alone, whatever users wrote into it."""

from __future__ import annotations

import re

import pytest

from trimtab.app.pages.page_parts import Cell, Column, Figure, Page, Section, Table, need_pages, write_page
from trimtab.charts.theme import DARK, LIGHT, Frame
from trimtab.charts.window_panels import PValue, p_values_panel
from trimtab.errors import MissingExtra

WINDOWS = [PValue(name=f"<{n}>", p=0.5, p_seq=0.2) for n in range(3)]


def test_text_is_escaped_and_nothing_is_fetched() -> None:
    chart = p_values_panel(WINDOWS, Frame(width=300), level=0.05)
    page = write_page(
        Page(
            title="<t>",
            sentence="<s> & 'x'",
            lead="<l>",
            more=["<m>"],
            facts=[("<label>", "<figure>", "<usual>")],
            sections=[
                None,
                Section(
                    heading="<h>",
                    figures=[Figure(chart=chart, heading="<f>", note="<n>"), Figure(chart=chart)],
                    table=Table(
                        [Column("<c>"), Column("d", text=True)], [("<v>", Cell("<code>", "severe", code=True))]
                    ),
                    notes=["<li>!"],
                ),
            ],
        )
    )
    for tag in ("<t>", "<s>", "<l>", "<m>", "<label>", "<figure>", "<usual>", "<h>", "<f>", "<n>", "<c>", "<v>", "<0>"):
        assert tag not in page
    assert '<td class="text short severe"><code>&lt;code&gt;</code></td>' in page
    assert "<li>&lt;li&gt;!</li>" in page
    assert not re.search(r"https?://|<script|<link|@import|url\((?!#)|src=|href=", page)


def test_the_ids_of_two_charts_differ() -> None:
    chart = p_values_panel(WINDOWS, Frame(width=300), level=0.05)
    chart["layer"][2]["mark"]["clip"] = True
    section = Section(heading="h", figures=[Figure(chart=chart), Figure(chart=chart)])
    page = write_page(Page(title="t", sentence="s", sections=[section]))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)
    assert page.count("<svg") == 2


def test_both_colour_schemes_are_part_of_the_page() -> None:
    page = write_page(Page(title="t", sentence="s"))
    light, dark = page.split("@media (prefers-color-scheme: dark)")
    assert f"--champion: {LIGHT.champion};" in light
    assert f"--champion: {DARK.champion};" in dark


def test_a_missing_extra_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jinja2" else object())
    with pytest.raises(MissingExtra, match=r"jinja2 is not installed.*pip install 'trimtab\[console\]'"):
        need_pages()
