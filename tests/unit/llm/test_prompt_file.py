"""Files of prompts: what they may hold, and every way to be wrong, with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.bundle.prompt_spec import MessageTemplate, VariableSpec
from trimtab.errors import DefinitionError
from trimtab.llm.prompt_file import parse_prompt_file
from trimtab.llm.template_text import Piece, TemplateError, pieces, sections_of, with_sections

HEAD = "---\ndescription: d\n---\n"


def test_headings_split_messages_and_other_headings_are_text() -> None:
    made = parse_prompt_file(
        "# System\n\n# Rules\nBe brief.\n```md\n# user\n```\n\n#   user  \n{{ ticket }}\n# assistant:\nDone.\n", "a.md"
    )
    assert made.messages == (
        MessageTemplate(role="system", text="# Rules\nBe brief.\n```md\n# user\n```"),
        MessageTemplate(role="user", text="{{ ticket }}"),
        MessageTemplate(role="assistant", text="Done."),
    )
    assert made.starts == (3, 10, 12)
    assert made.keys == {}


def test_the_front_matter_lists_variables_by_name_or_with_options() -> None:
    one = "variables: [a, b]"
    two = "variables:\n  a:\n  b: { trusted: true, default: 7, max_chars: 3 }"
    assert parse_prompt_file(f"---\n{one}\n---\n# user\nx", "a.md").variables() == {
        "a": VariableSpec(),
        "b": VariableSpec(),
    }
    assert parse_prompt_file(f"---\r\n{two}\r\n---\r\n# user\r\nx", "a.md").variables()["b"] == VariableSpec(
        trusted=True, default="7", max_chars=3
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.md: there is no message"),
        ("Hello\n# user\nx", "a.md:1: text before the first message"),
        (f"{HEAD}# user\n\n# assistant\nx", "a.md:4: the message is empty"),
        (f"{HEAD}# sytem\nx", "a.md:4: '# sytem' begins no message. Did you mean '# system'?"),
        (f"{HEAD}# user\nx\n# system\ny", "a.md:6: a system message comes before the others"),
        ("---\ndescription: d\n# user\nx", "a.md:1: the front matter has no end"),
        ("---\na: [1\n---\n# user\nx", "a.md:2: not valid YAML"),
        ("---\n- a\n---\n# user\nx", "a.md:2: expected keys"),
        ("---\nmodel: a\nmodel: b\n---\n# user\nx", "a.md:3: model: this key is given twice (first on line 2)"),
        ("---\nparms: {}\n---\n# user\nx", "a.md:2: unknown key 'parms'. Did you mean 'params'?"),
    ],
)
def test_another_form_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse_prompt_file(text, "a.md")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("variables: 3", "a.md:2: variables: expected names"),
        ("variables:\n  a b: {}", "a.md:3: variables.a b: expected a name"),
        ("variables:\n  a: { trustd: true }", "unknown key 'trustd'. Did you mean 'trusted'?"),
        ("variables:\n  a: { trusted: maybe }", "trusted is 'maybe'; expected true or false"),
        ("variables:\n  a: { max_chars: 0 }", "max_chars is 0; expected a whole number from 1 on"),
        ("variables:\n  a: { max_chars: 2, default: abc }", "default has 3 characters, and max_chars is 2"),
        ("variables:\n  a: { default: [1] }", "default is [1]; expected text"),
        ("variables:\n  a: 3", "variables.a is 3; expected such as { max_chars: 8000 }"),
    ],
)
def test_wrong_variables_are_refused_with_their_line(front: str, said: str) -> None:
    made = parse_prompt_file(f"---\n{front}\n---\n# user\nx", "a.md")
    with pytest.raises(DefinitionError) as refused:
        made.variables()
    assert said in str(refused.value)


def test_sections_are_found_and_their_lines_are_not_sent() -> None:
    text = "a\n<!-- section: rules -->\n\nBe brief.\n\n<!-- section: tone -->\nBe kind.\n<!-- /section -->\nz {{ b }}"
    made = parse_prompt_file(f"# user\n{text}", "a.md")
    assert made.sections == {"rules": "Be brief.", "tone": "Be kind."}
    assert "".join(piece.text for piece in pieces(text)) == "a\n\nBe brief.\n\nBe kind.\nz b"
    changed = with_sections(text, {"tone": " Be short. ", "rules": "1"})
    assert [changed[start:end] for _, start, end in sections_of(changed)] == ["1", "Be short."]
    assert with_sections(changed, {"tone": "Be kind.", "rules": "Be brief."}) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- section: a -->\nx\n<!-- section: a -->\ny", "a.md:5: there are two sections 'a'"),
        ("<!-- section: 1a -->\nx", "a.md:2: '1a' is no name of a section"),
        ("<!-- section: examples -->\nx", "a.md:3: 'examples' is no name of a section"),
        ("x <!-- section: a -->", "a.md:2: '<!-- section: a -->' is no section; expected a line of its own"),
        ("x\n<!-- sections: a -->", "a.md:3: '<!-- sections: a -->' is no section"),
        ("x\n<!-- /section -->", "a.md:3: this line ends no section"),
    ],
)
def test_wrong_sections_are_refused_with_their_line(text: str, said: str) -> None:
    made = parse_prompt_file(f"# user\n{text}", "a.md")
    with pytest.raises(DefinitionError) as refused:
        _ = made.sections
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n{{ b.c }}", "a.md:3: '{{ b.c }}' is no variable; expected a name alone"),
        ("a {{ b", "a.md:2: '{{' begins no variable"),
        ("{% if a %}", "a.md:2: prompts have no logic"),
    ],
)
def test_what_is_no_variable_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        _ = parse_prompt_file(f"# user\n{text}", "a.md").used
    assert said in str(refused.value)


@given(st.text(alphabet="{}%\\ab \n<!->:section/", max_size=40))
def test_a_template_is_refused_or_gives_back_its_text(text: str) -> None:
    """Of a template without sections, escapes and blanks in variables the pieces are the text."""
    try:
        found = pieces(text)
    except TemplateError as error:
        place = error.offset
        found = [Piece(text, False, place)] if 0 <= place < len(text) else []
    if "\\{" not in text and "<!--" not in text and not any(piece.is_variable for piece in found):
        assert "".join(piece.text for piece in found) == text
