"""Definitions of prompts: what is taken, and every way to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

import trimtab as tt
from trimtab.definitions.collection import collect
from trimtab.errors import DefinitionError

local = tt.Endpoint("local", url="loopback")
tickets = tt.EvalSet("tickets", source="evals/tickets.jsonl", inputs=["ticket"])
rows = tt.FileSource("rows", "rows.parquet", timestamp="at")


class Triage(BaseModel):
    queue: str


def anything(value: object) -> Any:
    """Hand over what the type checker would refuse."""
    return cast(Any, value)


def endpoint(**changes: Any) -> tt.Endpoint:
    return tt.Endpoint(**{"name": "cloud", "url": "https://llm.example.com/v1", **changes})


def prompt(**changes: Any) -> tt.Prompt:
    return tt.Prompt(**{"name": "triage", "file": "prompts/triage.md", "endpoint": local, "model": "m", **changes})


def judge(**changes: Any) -> tt.Judge:
    return tt.Judge(**{"name": "kind", "endpoint": local, "model": "judge", "rubric": "It is kind.", **changes})


def examples(**changes: Any) -> tt.EvalSet:
    return tt.EvalSet(**{"name": "tickets", "source": "a.jsonl", "inputs": ["ticket"], **changes})


def retriever(**changes: Any) -> tt.Retriever:
    return tt.Retriever(**{"name": "finder", "table": "articles", "text": "body", "id": "id", **changes})


def lora(**changes: Any) -> tt.LoRA:
    return tt.LoRA(**{"name": "small", "base": "b", "examples": rows, "prompt": "p", "answer": "a", **changes})


def tool(name: object = "refund", **changes: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}, **changes}}


async def waiting(turn: tt.Turn, item: tt.Item | None) -> bool:
    return True


def of_one(turn: tt.Turn) -> bool:
    return True


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: tt.Price(input=-1, output=0), "Price: input is -1; expected a number from 0 on, for a million tokens"),
    (lambda: tt.Price(input=anything("1"), output=0), "Price: input is '1'; expected a number"),
    (lambda: tt.Price(input=0.1234567, output=0), "Price: input is 0.1234567; expected at most 6 decimals"),
    (lambda: tt.Price(input=0, output=0, since="may"), "Price: since is 'may'; expected a date, such as 2026-01-31"),
    (lambda: endpoint(name="a b"), "Endpoint name 'a b' is not valid"),
    (lambda: endpoint(url="llm.example.com"), "url is 'llm.example.com'; expected one such as https://"),
    (lambda: endpoint(url="https://a/v1/chat/completions"), "expected the part before /chat/completions"),
    (lambda: endpoint(url="https://a/v1?key=x"), "expected no query and no fragment"),
    (lambda: endpoint(url="https://a:b/v1"), "url is no URL"),
    (lambda: endpoint(prices={"m": 1}), "prices of 'm' is 1; expected tt.Price(input=..., output=...)"),
    (lambda: endpoint(prices={"m": [tt.Price(input=0, output=0)] * 2}), "two of them hold always; give one a date"),
    (lambda: endpoint(prices=[1]), "prices is [1]; expected a mapping"),
    (
        lambda: endpoint(usage="inclusiv"),
        "usage is 'inclusiv'; expected 'inclusive' or 'exclusive'. Did you mean 'incl",
    ),
    (lambda: endpoint(reasoning="apart"), "reasoning is 'apart'; expected 'in_output' or 'separate'"),
    (lambda: endpoint(requests="600"), "requests: '600' is no number and period, such as 600/min"),
    (lambda: endpoint(tokens="600/minute"), "tokens: '600/minute': unknown period 'minute'. Did you mean 'min'?"),
    (lambda: endpoint(concurrent=0), "concurrent is 0; expected a whole number from 1 on"),
    (lambda: prompt(file=""), "Prompt 'triage': file is ''; expected text, such as 'prompts/triage.md'"),
    (lambda: prompt(endpoint="local"), "endpoint is 'local'; expected one made with Endpoint(...)"),
    (lambda: prompt(params=[1]), "params is [1]; expected a mapping"),
    (lambda: prompt(params={"temprature": 0}), "unknown parameter 'temprature'. Did you mean 'temperature'?"),
    (
        lambda: prompt(params={"response_format": {}}),
        "'response_format' cannot be set here: it comes from the argument",
    ),
    (lambda: prompt(params={"temperature": 2.5}), "temperature is 2.5; expected a number from 0 to 2"),
    (lambda: prompt(params={"max_tokens": 0}), "max_tokens is 0; expected a whole number from 1 on"),
    (lambda: prompt(params={"max_tokens": 1, "max_completion_tokens": 1}), "has both max_completion_tokens and"),
    (lambda: prompt(params={"seed": {1, 2}}), "seed is {1, 2}, which JSON cannot hold"),
    (lambda: prompt(output="Triage"), "output is 'Triage'; expected a pydantic model, or its name with the module"),
    (lambda: prompt(output=int), "expected a pydantic model"),
    (lambda: prompt(tools=[{"name": "refund"}]), "tools: one of them is {'name': 'refund'}; expected"),
    (lambda: prompt(tools=[tool("a b")]), "the name 'a b' is not valid; expected at most 64 letters"),
    (lambda: prompt(tools=[tool(), tool()]), "two tools are named 'refund'"),
    (lambda: prompt(tools=[tool(parameters=1)]), "parameters of 'refund' is 1; expected a JSON schema"),
    (lambda: prompt(variables="ticket"), "variables is 'ticket'; expected a list, such as ['ticket']"),
    (lambda: prompt(variables=["a b"]), "variable 'a b' is not valid"),
    (lambda: prompt(retrieve="finder"), "retrieve is 'finder'; expected one made with Retriever(...)"),
    (lambda: prompt(fallbacks=[local]), "fallbacks: one of them is"),
    (lambda: prompt(fallbacks=[(local, "")]), "fallbacks: model is ''; expected text"),
    (lambda: prompt(evals=tt.Eval(tickets, tt.exact())), "evals is one tt.Eval; expected a list: evals=[...]"),
    (lambda: prompt(evals=[tt.Eval(tickets, tt.exact())] * 2), "two evals of set 'tickets'"),
    (
        lambda: prompt(evals=[tt.Eval(tickets, tt.exact())], quality="exct"),
        "quality is 'exct', which is no evaluator of its evals. Did you mean 'exact'?",
    ),
    (lambda: judge(scale="points"), "Judge 'kind': scale is 'points'; expected 'pass_fail' or 'score'"),
    (lambda: judge(rubric=""), "rubric is ''; expected text"),
    (lambda: judge(repeats=2), "repeats is 2; expected an odd number, as the majority counts"),
    (lambda: judge(labels="labels.csv"), "labels is 'labels.csv'; expected one made with FileSource(...)"),
    (lambda: examples(source="a.xlsx"), "source is 'a.xlsx'; expected a file that ends in .parquet, .csv, .jsonl"),
    (lambda: examples(inputs=[]), "has no inputs"),
    (lambda: examples(expected="ticket"), "'ticket' is an input, so the model would be told the answer"),
    (lambda: examples(tags="language"), "tags is 'language'; expected a list"),
    (lambda: tt.Eval(tickets), "Eval of set 'tickets' has no evaluators"),
    (lambda: tt.Eval(tickets, anything(tt.exact)), "is no evaluator; expected tt.exact() and the like"),
    (lambda: tt.Eval(tickets, anything(tt.exact)), "call it: tt.exact()"),
    (lambda: tt.Eval(tickets, tt.exact(), tt.exact()), "two evaluators named 'exact'; give one another name, such as"),
    (
        lambda: tt.Eval(examples(expected=None), tt.exact()),
        "'exact' needs the expected answer, and the set has expected",
    ),
    (lambda: retriever(k=0), "Retriever 'finder': k is 0; expected a whole number from 1 on"),
    (lambda: retriever(embed="minilm"), "embed is 'minilm'; expected 'tfidf' or 'all-minilm-l6-v2'"),
    (lambda: lora(answer="p"), "LoRA 'small': prompt and answer are the same column, 'p'"),
    (lambda: lora(rank=0), "rank is 0; expected a whole number from 1 on"),
    (lambda: lora(seed=-1), "seed is -1; expected a whole number from 0 on"),
    (lambda: tt.evaluator(anything(of_one)), "evaluator 'of_one' takes ['turn']; expected 2 arguments: (turn, item)"),
    (lambda: tt.evaluator(anything(waiting)), "evaluator 'waiting' is async"),
    (lambda: tt.evaluator(gate=anything("qualty"))(lambda turn, item: True), "evaluator name '<lambda>' is not valid"),
    (lambda: tt.Evaluator("a", lambda turn, item: True, gate=anything("safty")), "gate is 'safty'; expected"),
    (lambda: tt.Score(1.5), "Score: value is 1.5; expected True or False, a number from 0 to 1, or None"),
    (lambda: tt.Score(True, anything(1)), "Score: reason is 1; expected text"),
]


@pytest.mark.parametrize(("make", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_a_wrong_argument_is_refused_in_words(make: Callable[[], object], said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        make()
    assert said in str(refused.value)


def test_a_key_that_is_written_into_a_definition_is_refused_and_not_shown() -> None:
    with pytest.raises(DefinitionError) as refused:
        endpoint(key="sk-live-4711")
    assert "key is no name of an environment variable, and is not shown here" in str(refused.value)
    assert "4711" not in str(refused.value)
    with pytest.raises(DefinitionError, match="url holds a password") as hidden:
        endpoint(url="https://ann:s3cret@llm.example.com/v1")
    assert "s3cret" not in str(hidden.value)


def test_a_key_is_the_name_of_a_variable() -> None:
    for key in ("LLM_KEY", "${LLM_KEY}", tt.secret("LLM_KEY")):
        assert endpoint(key=key).key_name == "LLM_KEY"
        assert endpoint(key=key) == endpoint(key="LLM_KEY")


@example(0.250001)
@given(st.integers(0, 10**12).map(lambda micros: micros / 10**6))
def test_a_price_is_exact_in_integers(price: float) -> None:
    """A price for a million tokens with six decimals is a whole number of 1e-12 a token."""
    assert tt.Price(input=price, output=0).pico("input") == round(price * 10**6)


def test_dated_prices_are_ordered() -> None:
    later, first = tt.Price(input=2, output=2, since="2026-05-01"), tt.Price(input=1, output=1)
    assert endpoint(prices={"m": [later, first]}).prices_of("m") == (first, later)
    assert endpoint().prices_of("m") is None


def test_a_prompt_brings_what_it_refers_to() -> None:
    helpful = judge(name="helpful", endpoint=endpoint(name="judges"))
    finder = retriever()
    made = prompt(
        output=Triage,
        fallbacks=[(endpoint(), "small")],
        retrieve=finder,
        evals=[tt.Eval(tickets, tt.exact(), helpful)],
    )
    found = collect({"triage": made})
    assert sorted(found.endpoints) == ["cloud", "judges", "local"]
    assert (list(found.judges), list(found.eval_sets), list(found.retrievers)) == (["helpful"], ["tickets"], ["finder"])
    assert found.served == {"triage": made}
    assert found.place_of("Judge 'helpful': x").startswith("test_prompt_definitions.py:")


def test_a_name_serves_once() -> None:
    model = tt.Model("triage", task="binary", examples=rows, label="y", features=["x"])
    with pytest.raises(DefinitionError, match="defines a model and a prompt named 'triage', at "):
        collect({"a": model, "b": prompt()})
    with pytest.raises(DefinitionError, match="two different eval sets named 'tickets'"):
        collect({"a": tickets, "b": examples(tags=["language"])})


def test_a_project_of_prompts_alone_names_their_verbs() -> None:
    found = collect({"triage": prompt()})
    with pytest.raises(DefinitionError, match=r"defines no model; .* Prompts have verbs of their own: trimtab eval"):
        found.model()
    with pytest.raises(DefinitionError, match="'triage' is a prompt, and this is for trained models"):
        found.model("triage")
    with pytest.raises(DefinitionError, match=r"has no prompt 'triag'\. Did you mean 'triage'\?"):
        found.prompt("triag")


def test_a_judge_of_other_words_is_another_version() -> None:
    assert judge().version == judge(labels=rows).version
    assert len({judge().version, judge(rubric="It is short.").version, judge(model="other").version}) == 3
