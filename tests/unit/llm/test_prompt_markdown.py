"""A version written as Markdown: reading the file gives the version back."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from kit.prompt_project import DEFINITIONS, write_prompt_project
from trimtab.app.project.project import open_project
from trimtab.bundle.prompt_spec import EndpointSpec, MessageTemplate, PromptSpec, TargetSpec, VariableSpec
from trimtab.llm.prompt_assembly import assemble
from trimtab.llm.prompt_file import parse_prompt_file
from trimtab.llm.prompt_markdown import to_markdown

LOCAL = TargetSpec(endpoint=EndpointSpec(name="local", url="loopback"), model="classifier")
TEXTS = st.text(alphabet="ab:#-{}'\"\n é\\", min_size=1, max_size=30).map(lambda text: f"x{text}".rstrip())


def test_a_written_version_is_the_same_version(tmp_path: Path) -> None:
    project = open_project(write_prompt_project(tmp_path))
    spec = assemble(project.definitions.prompt(), project.definitions, tmp_path)
    bare = DEFINITIONS.replace('    endpoint=local,\n    model="classifier",\n    output=Triage,\n', "")
    again = open_project(write_prompt_project(tmp_path, prompt=to_markdown(spec), definitions=bare))
    assert assemble(again.definitions.prompt(), again.definitions, tmp_path) == spec


@example(texts=["x"], default="\x85", description="a\u2028é", params={})
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=3),
    default=st.none() | st.text(max_size=12),
    description=st.text(max_size=20),
    params=st.dictionaries(st.sampled_from(["top_p", "stop", "user_defined"]), st.none() | st.floats(0, 1) | TEXTS),
)
def test_messages_variables_and_parameters_come_back(
    texts: list[str], default: str | None, description: str, params: dict[str, object]
) -> None:
    spec = PromptSpec(
        name="p",
        description=description,
        messages=tuple(MessageTemplate(role="user", text=text) for text in texts),
        variables={"a": VariableSpec(default=default, max_chars=40)},
        params=params,
        target=LOCAL,
    )
    made = parse_prompt_file(to_markdown(spec), "p.md")
    assert made.messages == spec.messages
    assert made.variables() == spec.variables
    assert made.keys.get("params", {}) == params
    assert made.keys.get("description", "") == description
