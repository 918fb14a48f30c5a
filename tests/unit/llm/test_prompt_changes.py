"""Changes of a search: in a version and in its file, and what no search may write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.prompt_project import PROMPT, write_prompt_project
from trimtab.app.project.project import open_project
from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.errors import DataError
from trimtab.llm.chat_messages import render
from trimtab.llm.prompt_assembly import assemble
from trimtab.llm.prompt_changes import file_with_changes, with_changes
from trimtab.llm.prompt_file import parse_prompt_file

SHOWN = [{"user": "late parcel", "assistant": '{"queue": "delivery"}'}]


def version(folder: Path, prompt: str = PROMPT) -> PromptSpec:
    project = open_project(write_prompt_project(folder, prompt=prompt))
    return assemble(project.definitions.prompt(), project.definitions, folder)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PromptSpec:
    return version(tmp_path_factory.mktemp("desk"))


def test_a_changed_version_is_what_its_changed_file_says(tmp_path: Path, spec: PromptSpec) -> None:
    new = {"instructions": "Sort for {{ product }}:\n- billing: money\n- delivery: way"}
    made = with_changes(spec, new, SHOWN)
    assert render(made, {"ticket": "x"})[0]["content"].startswith("Sort for Acme:\n- billing: money\n- delivery: way\n")
    assert [each["content"] for each in render(made, {"ticket": "x"})][1:3] == ["late parcel", '{"queue": "delivery"}']
    text = file_with_changes(PROMPT, new, SHOWN)
    assert version(tmp_path, text) == made
    assert [row for row in PROMPT.splitlines() if row.startswith(("params", "  product", "Answer", "tune", "# "))] == [
        row for row in text.splitlines() if row.startswith(("params", "  product", "Answer", "tune", "# "))
    ]


@pytest.mark.parametrize("prompt", [PROMPT, "# user\n{{ ticket }}\n", "---\nmodel: a # why\n---\n# user\nx\n"])
def test_examples_come_and_go_in_a_file(prompt: str) -> None:
    before, there = parse_prompt_file(prompt, "a"), parse_prompt_file(file_with_changes(prompt, examples=SHOWN), "a")
    assert there.keys == {**before.keys, "examples": SHOWN}
    assert there.messages == before.messages
    gone = file_with_changes(file_with_changes(prompt, examples=SHOWN), examples=[])
    assert parse_prompt_file(gone, "a").keys == {k: v for k, v in before.keys.items() if k != "examples"}
    assert ("# why" in gone) == ("# why" in prompt)


@pytest.mark.parametrize(
    ("sections", "examples", "said"),
    [
        ({"instruction": "x"}, None, "`tune` of prompt 'triage' does not name 'instruction'. Did you mean"),
        ({"instructions": " "}, None, "the new text is empty"),
        (
            {"instructions": "Read {{ ticket }}"},
            None,
            "the variable 'ticket' stands in a system message and is not tru",
        ),
        ({"instructions": "Read {{ tickets }}"}, None, "unknown variable 'tickets'. Did you mean 'ticket'?"),
        ({"instructions": "a\n# user\nb"}, None, "the new text is no part of a prompt"),
        ({"instructions": "a\n```\nb"}, None, "the new text is no part of a prompt"),
        ({"instructions": "a\n<!-- /section -->\nb"}, None, "the new text has the line of a section"),
        ({"instructions": "{% if a %}"}, None, "prompts have no logic"),
        ({}, [{"user": "a"}], "examples[0] has user; expected 'user' and 'assistant'"),
    ],
)
def test_what_is_no_part_of_a_prompt_is_refused(spec: PromptSpec, sections: Any, examples: Any, said: str) -> None:
    with pytest.raises(DataError) as refused:
        with_changes(spec, sections, examples)
    assert said in str(refused.value)


@given(text=st.text(alphabet="#aeru s\n`-<!>:/{}%", min_size=1, max_size=40))
def test_any_text_is_taken_whole_or_refused(spec: PromptSpec, text: str) -> None:
    """What a model proposes never moves the borders of messages and sections."""
    try:
        made = with_changes(spec, {"instructions": text})
    except DataError:
        return
    again = parse_prompt_file(file_with_changes(PROMPT, {"instructions": text}), "a")
    assert again.messages == made.messages
    assert again.sections == made.sections
    assert [each.role for each in made.messages] == ["system", "user"]
