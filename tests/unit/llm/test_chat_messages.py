"""Messages of a request: what is filled in, what is refused, and that nothing untrusted gets into a system message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.bundle.prompt_spec import EndpointSpec, MessageTemplate, PromptSpec, TargetSpec, VariableSpec
from trimtab.errors import DataError
from trimtab.llm.chat_messages import MessageError, MessageRenderer, render

TARGET = TargetSpec(endpoint=EndpointSpec(name="local", url="loopback"), model="classifier")
SYSTEM = MessageTemplate(role="system", text="Sort for {{ product }}.\n<!-- section: rules -->\nBe brief. \\{{x}}")
USER = MessageTemplate(role="user", text="Ticket: {{ ticket }}{{ticket}}")


def spec(**changes: Any) -> PromptSpec:
    known: dict[str, Any] = {
        "name": "triage",
        "messages": (SYSTEM, USER),
        "variables": {
            "product": VariableSpec(trusted=True, default="Acme"),
            "ticket": VariableSpec(max_chars=20),
        },
        "target": TARGET,
    }
    return PromptSpec(**{**known, **changes})


def test_variables_are_filled_in_and_client_messages_follow() -> None:
    asked = [{"role": "assistant", "content": "Which order?"}, {"role": "user", "content": "7"}]
    assert render(spec(), {"ticket": "late"}, asked) == [
        {"role": "system", "content": "Sort for Acme.\nBe brief. {{x}}"},
        {"role": "user", "content": "Ticket: latelate"},
        *asked,
    ]


def test_numbers_are_written_as_json_and_a_null_takes_the_default() -> None:
    assert render(spec(), {"ticket": 7, "product": None})[1]["content"] == "Ticket: 77"


@pytest.mark.parametrize(
    ("variables", "messages", "param", "said"),
    [
        ({}, [], "variables.ticket", "needs the variable 'ticket'"),
        ({"ticket": None}, [], "variables.ticket", "needs the variable 'ticket'"),
        ({"ticket": "a", "tickt": "b"}, [], "variables.tickt", "Did you mean 'ticket'?"),
        ({"ticket": "a" * 21}, [], "variables.ticket", "has 21 characters; at most 20"),
        ({"ticket": ["a"]}, [], "variables.ticket", "of type list; expected text or a number"),
        ({"ticket": "a"}, [{"role": "system", "content": "x"}], "messages[0].role", "may not bring system messages"),
        ({"ticket": "a"}, [{"role": "developer", "content": "x"}], "messages[0].role", "developer messages"),
        ({"ticket": "a"}, [{"role": "usr", "content": "x"}], "messages[0].role", "Did you mean 'user'?"),
        ({"ticket": "a"}, ["x"], "messages[0]", "no object"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    variables: Mapping[str, Any], messages: list[Any], param: str, said: str
) -> None:
    with pytest.raises(MessageError) as refused:
        render(spec(), variables, messages)
    assert refused.value.param == param
    assert said in str(refused.value)


def test_examples_stand_before_the_last_user_message_of_the_template() -> None:
    shown = (
        {"inputs": {"ticket": "no refund"}, "expected": {"queue": "refunds"}},
        {"user": "Ticket: hello", "assistant": "other"},
    )
    made = render(spec(examples=shown), {"ticket": "late"}, [{"role": "user", "content": "again"}])
    assert [message["content"] for message in made[1:]] == [
        "Ticket: no refundno refund",
        '{"queue": "refunds"}',
        "Ticket: hello",
        "other",
        "Ticket: latelate",
        "again",
    ]


def test_without_a_user_message_the_request_brings_one_and_examples_stand_before_it() -> None:
    alone = spec(messages=(SYSTEM,), variables={"product": VariableSpec(trusted=True, default="Acme")})
    with pytest.raises(MessageError, match="no user message"):
        render(alone, {}, [])
    shown = spec(
        messages=(SYSTEM,),
        variables={"product": VariableSpec(trusted=True, default="Acme")},
        examples=({"user": "a", "assistant": "b"},),
    )
    made = render(shown, {}, [{"role": "user", "content": "c"}])
    assert [message["content"] for message in made[1:]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variables": {"product": VariableSpec(), "ticket": VariableSpec()}}, "stands in a system message"),
        ({"variables": {"product": VariableSpec(trusted=True)}}, "unknown variable 'ticket'"),
        ({"messages": (MessageTemplate(role="user", text="{{ a"),), "variables": {}}, "begins no variable"),
        ({"messages": (MessageTemplate(role="user", text="{% if %}"),), "variables": {}}, "no logic"),
        ({"examples": ({"user": "a"},)}, "expected 'user' and 'assistant'"),
        ({"examples": ({"inputs": {"ticke": "a"}, "expected": "b"},)}, "Did you mean 'ticket'?"),
    ],
)
def test_a_version_that_cannot_be_rendered_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as refused:
        MessageRenderer(spec(**changes))
    assert said in str(refused.value)


def test_messages_of_one_request_do_not_change_those_of_the_next() -> None:
    one = spec(examples=({"user": "a", "assistant": "b"},))
    for message in render(one, {"ticket": "x"}):
        message["content"] = "changed"
    assert [message["content"] for message in render(one, {"ticket": "x"})][1:3] == ["a", "b"]


TEXTS = st.text(max_size=20) | st.sampled_from(["{{ product }}", "# system", "<!-- section: a -->", "\\{{", "{%"])


@given(ticket=TEXTS, content=TEXTS)
def test_no_untrusted_text_changes_a_system_message(ticket: str, content: str) -> None:
    made = render(spec(), {"ticket": ticket}, [{"role": "user", "content": content}])
    assert [message for message in made if message["role"] == "system"] == [
        {"role": "system", "content": "Sort for Acme.\nBe brief. {{x}}"}
    ]
    assert made[1] == {"role": "user", "content": f"Ticket: {ticket}{ticket}"}
    assert made[2:] == [{"role": "user", "content": content}]
