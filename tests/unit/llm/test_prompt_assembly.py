"""A version of a prompt as a project has it: what is taken from where, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.prompt_project import DEFINITIONS, PROMPT, write_prompt_project
from trimtab.app.project.project import open_project
from trimtab.bundle.prompt_spec import PriceSpec, PromptSpec, RetrieverSpec, VariableSpec
from trimtab.errors import DefinitionError, PolicyError
from trimtab.llm.chat_messages import render
from trimtab.llm.prompt_assembly import assemble


def version(folder: Path) -> PromptSpec:
    project = open_project(folder)
    return assemble(project.definitions.prompt(), project.definitions, folder)


def test_a_version_has_all_that_changes_an_answer(tmp_path: Path) -> None:
    made = version(write_prompt_project(tmp_path))
    assert made.variables == {
        "product": VariableSpec(trusted=True, default="Acme"),
        "ticket": VariableSpec(max_chars=400),
    }
    assert made.params == {"temperature": 0, "max_completion_tokens": 60}
    assert made.schema_name == "Triage"
    assert (made.schema or {})["required"] == ["queue"]
    assert made.target.endpoint.prices == {"classifier": (PriceSpec(input=150_000, output=600_000, cached=75_000),)}
    assert made.sections["instructions"].startswith("Sort the ticket")
    assert made.tune == ("instructions", "examples")
    assert [each["role"] for each in render(made, {"ticket": "x"})] == ["system", "user", "assistant", "user"]
    assert render(made, {"ticket": "x"})[0]["content"].endswith('Answer with JSON: {{"queue": ...}}.')


def test_the_hash_changes_with_what_changes_an_answer_and_not_with_prices(tmp_path: Path) -> None:
    first = version(write_prompt_project(tmp_path)).prompt_hash
    dearer = DEFINITIONS.replace("input=0.15", "input=0.16").replace('url="loopback",', 'url="loopback", concurrent=3,')
    assert version(write_prompt_project(tmp_path, definitions=dearer)).prompt_hash == first
    for text in (PROMPT.replace("one queue", "a queue"), PROMPT.replace("temperature: 0", "temperature: 1")):
        assert version(write_prompt_project(tmp_path, prompt=text)).prompt_hash != first


def test_the_front_matter_may_name_endpoint_model_and_output(tmp_path: Path) -> None:
    (tmp_path / "schemas.py").write_text("from pydantic import BaseModel\n\nclass Triage(BaseModel):\n    queue: str\n")
    definitions = DEFINITIONS.replace('    endpoint=local,\n    model="classifier",\n    output=Triage,\n', "")
    text = PROMPT.replace("---\n", "---\nendpoint: local\nmodel: classifier\noutput: schemas.Triage\n", 1)
    made = version(write_prompt_project(tmp_path, prompt=text, definitions=definitions))
    assert (made.target.endpoint.name, made.target.model, made.schema_name) == ("local", "classifier", "Triage")
    assert made.prompt_hash == version(write_prompt_project(tmp_path)).prompt_hash


def test_without_a_list_all_variables_of_the_text_are_needed_and_untrusted(tmp_path: Path) -> None:
    made = version(write_prompt_project(tmp_path, prompt="# user\n{{ ticket }} {{ more }}\n"))
    assert made.variables == {"ticket": VariableSpec(), "more": VariableSpec()}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "description: sorts tickets into two queues",
            "description: 3",
            "triage.md:2: description is 3; expected text",
        ),
        ("params: {", "params: { temprature: 1,", "triage.md:3: params: unknown parameter 'temprature'"),
        ("params: {", "params: { n: 2,", "triage.md:3: params: 'n' cannot be set here"),
        ("temperature: 0", "temperature: 3", "triage.md:3: params: temperature is 3; expected a number from 0 to 2"),
        ("ticket: {", "tickets: {", "triage.md:20: `variables` has no 'ticket'. Did you mean 'tickets'?"),
        ("{{ product }}", "{{ ticket }}", "triage.md:13: the variable 'ticket' stands in a system message and is not"),
        ("{{ product }}", "us", "triage.md:5: the text does not use the variable 'product'"),
        ("expected: {", "answer: {", "triage.md:7: examples[0] has answer, inputs; expected"),
        ("tune: [instructions", "tune: [instruction", "triage.md:9: tune: the text has no section 'instruction'. Did"),
        ("tune: [instructions, examples]", "tune: rules", "triage.md:9: tune: expected a list"),
        ("params: {", "output: schemas.Triage\nparams: {", "output stands in definitions.py:12 and in"),
        ("params: {", "model: other\nparams: {", "model stands in definitions.py:12 and in prompts/triage.md:3"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PROMPT
    with pytest.raises(DefinitionError) as refused:
        open_project(write_prompt_project(tmp_path, prompt=PROMPT.replace(old, new, 1)))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("prompts/triage.md", "prompts/triag.md", "prompts/triag.md: there is no such file. Did you mean 'triage.md'?"),
        ('model="classifier"', 'model="clasifier"', None),
        ("    endpoint=local,\n", "", "definitions.py:12: Prompt 'triage' has no endpoint; name it"),
        ('    model="classifier",\n', "", "definitions.py:12: Prompt 'triage' has no model; name it"),
        ("output=Triage", 'output="schemas.Triage"', "'schemas.Triage': there is no schemas.py in"),
        ('"loopback"', '"http://127.0.0.1:1/v1"', None),
    ],
)
def test_what_definitions_get_wrong_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, said: str | None
) -> None:
    folder = write_prompt_project(tmp_path, definitions=DEFINITIONS.replace(old, new, 1))
    if said is None:
        open_project(folder)
        return
    with pytest.raises(DefinitionError) as refused:
        open_project(folder)
    assert said in str(refused.value)


def test_a_model_without_a_price_is_free_on_the_loopback_alone(tmp_path: Path) -> None:
    other = DEFINITIONS.replace('model="classifier"', 'model="clasifier"')
    assert version(write_prompt_project(tmp_path, definitions=other)).target.endpoint.prices["clasifier"] == (
        PriceSpec(input=0, output=0),
    )
    with pytest.raises(DefinitionError, match=r"has no price for model 'clasifier'.*Did you mean 'classifier'\?"):
        open_project(write_prompt_project(tmp_path, definitions=other.replace('"loopback"', '"http://127.0.0.1:1/v1"')))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("llm:\n  budgets: { 'prompt:triag': { limit: 1/day } }\n", "Did you mean 'triage'?"),
        ("llm:\n  promote: { metric: 'judge:kind' }\n", "trimtab.yaml:3: llm.promote.metric: 'kind' is no judge"),
        ("llm:\n  tune: { endpoint: locl }\n", "llm.tune.endpoint: 'locl' is no endpoint. Did you mean 'local'?"),
    ],
)
def test_the_policy_names_what_definitions_have(tmp_path: Path, policy: str, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        open_project(write_prompt_project(tmp_path, policy=f"project: desk\n{policy}"))
    assert said in str(refused.value)


def test_documents_of_a_retriever_are_an_untrusted_variable_of_their_own(tmp_path: Path) -> None:
    source = 'articles = tt.FileSource("articles", "data/articles.jsonl", timestamp="at")\n'
    finder = 'finder = tt.Retriever("finder", table="articles", text="body", id="id")\n'
    made = DEFINITIONS.replace("triage = tt", f"{source}{finder}triage = tt")
    made = made.replace("    output=Triage,\n", "    output=Triage,\n    retrieve=finder,\n")
    with pytest.raises(DefinitionError, match=r"has a retriever, and its text has no \{\{ documents \}\}"):
        open_project(write_prompt_project(tmp_path, definitions=made))
    text = PROMPT.replace("{{ ticket }}", "{{ documents }}\n{{ ticket }}")
    spec = version(write_prompt_project(tmp_path, definitions=made, prompt=text))
    assert spec.variables["documents"] == VariableSpec(default="")
    assert spec.retriever == RetrieverSpec(name="finder", table="articles", text="body", id="id", k=5, embed="tfidf")
    with pytest.raises(DefinitionError, match=r"Retriever 'finder': definitions\.py has no source 'article'"):
        open_project(
            write_prompt_project(tmp_path, definitions=made.replace('table="articles"', 'table="article"'), prompt=text)
        )
