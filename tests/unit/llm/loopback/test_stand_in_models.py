"""The rules in the place of language models: a better prompt answers better."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trimtab.llm.loopback.stand_in_models import classifier, echo, judge, reflector, tools

GOOD = """Sort the ticket into one queue. Answer with its name only.
- billing: charge, card, invoice, refund
- shipping: parcel, delivery, late, courier
- account: password, login, email"""
TICKETS = [
    ("My card shows a charge twice", "billing"),
    ("The invoice is wrong, I want a refund", "billing"),
    ("Parcel still not here", "shipping"),
    ("The courier came late", "shipping"),
    ("I lost my password", "account"),
    ("No login with my new email", "account"),
]


def body(system: str, text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": text}], **more}


def right(system: str, *, seeds: int = 40) -> float:
    """Return the share of right answers, over seeds: guesses differ with these."""
    answers = [
        classifier(seed, body(system, text), False).text == queue for seed in range(seeds) for text, queue in TICKETS
    ]
    return sum(answers) / len(answers)


def test_a_prompt_with_the_right_words_sorts_all_and_one_without_them_guesses() -> None:
    no_shipping = GOOD.replace("parcel, delivery, late, courier", "boats")
    names_alone = "Sort into one of billing, shipping or account. Answer with the name only."
    assert right(GOOD) == 1.0
    assert 0.6 < right(no_shipping) < 0.95
    assert 0.2 < right(names_alone) < 0.5


def test_examples_in_the_messages_help() -> None:
    names_alone = "Sort into one of billing, shipping or account. Answer with the name only."
    shown = [
        {"role": "system", "content": names_alone},
        {"role": "user", "content": "Parcel came broken"},
        {"role": "assistant", "content": '{"queue": "shipping"}'},
        {"role": "user", "content": "Parcel still not here"},
    ]
    assert {classifier(seed, {"messages": shown}, False).text for seed in range(20)} == {"shipping"}
    inline = names_alone + '\n"Parcel came broken" -> shipping'
    assert {classifier(seed, body(inline, "Parcel still not here"), False).text for seed in range(20)} == {"shipping"}


def test_the_classifier_answers_by_the_schema_of_the_request() -> None:
    schema = {
        "type": "object",
        "properties": {
            "queue": {"$ref": "#/$defs/Queue"},
            "reason": {"type": "string"},
            "confidence": {"type": "number"},
        },
        "$defs": {"Queue": {"enum": ["billing", "shipping"], "type": "string"}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "Triage", "schema": schema}}
    answer = json.loads(classifier(0, body(GOOD, "Parcel still not here", response_format=form), False).text)
    assert answer["queue"] == "shipping"
    assert set(answer) == {"queue", "reason", "confidence"}
    wrong = json.loads(classifier(0, body(GOOD, "Parcel still not here", response_format=form), True).text)
    assert wrong["queue"] == "billing"


def test_json_that_is_asked_for_in_words_alone_is_at_times_wrapped_in_text() -> None:
    asking = GOOD.replace("Answer with its name only.", 'Answer in JSON: {"team": "..."}')
    texts = [classifier(seed, body(asking, "I lost my password"), False).text for seed in range(400)]
    valid = [text for text in texts if text.startswith("{")]
    assert json.loads(valid[0]) == {"team": "account"}
    assert 350 < len(valid) < 400
    form = {"type": "json_object"}
    texts = [classifier(seed, body(asking, "lost it", response_format=form), False).text for seed in range(100)]
    assert all(json.loads(text) for text in texts)


def test_instructions_and_ticket_may_stand_in_one_message() -> None:
    messages = [{"role": "user", "content": f"{GOOD}\n\nTicket: The courier came late"}]
    assert classifier(0, {"messages": messages}, False).text == "shipping"


def test_the_judge_tells_like_from_unlike_answers_with_few_flips() -> None:
    def verdict(seed: int, answer: str) -> str:
        told = f"<question>where is it</question><answer>{answer}</answer><expected>the parcel is late</expected>"
        return judge(seed, {"messages": [{"role": "user", "content": told}]}, False).text

    good = [verdict(seed, "your parcel is late") for seed in range(300)]
    bad = [verdict(seed, "reset the password") for seed in range(300)]
    assert good.count("pass") > 270
    assert bad.count("fail") > 270
    assert "fail" in good  # a judge errs
    assert "pass" in bad


def test_the_judge_sorts_by_its_own_rubric_where_no_answer_is_expected() -> None:
    asked = json.dumps([{"role": "system", "content": "- all: parcel"}, {"role": "user", "content": "the parcel"}])

    def verdicts(answer: str) -> int:
        told = f"<conversation>\n{asked}\n</conversation><answer>{answer}</answer>"
        messages = [{"role": "system", "content": GOOD}, {"role": "user", "content": told}]
        return sum(judge(seed, {"messages": messages}, False).text == "pass" for seed in range(100))

    assert verdicts('{"queue": "shipping"}') > 85
    assert verdicts('{"queue": "billing"}') < 15


def test_the_judge_answers_by_the_schema_of_the_request() -> None:
    schema = {"type": "object", "properties": {"reason": {"type": "string"}, "pass": {"type": "boolean"}}}
    form = {"type": "json_schema", "json_schema": {"name": "Verdict", "schema": schema}}
    told = "<answer>late parcel</answer><expected>late parcel</expected>"
    found = judge(1, {"messages": [{"role": "user", "content": told}], "response_format": form}, False)
    assert json.loads(found.text)["pass"] is True


def test_the_reflector_adds_the_missing_words_and_the_classifier_gets_better() -> None:
    weak = GOOD.replace("parcel, delivery, late, courier", "boats")
    told = f"I provided an assistant with these instructions:\n```\n{weak}\n```\nExamples:\n```\n"
    for number, (text, queue) in enumerate(TICKETS, 1):
        answer = classifier(0, body(weak, text), False).text
        feedback = "good" if answer == queue else f"expected '{queue}', got '{answer}'"
        told += (
            f"# Example {number}\n## Inputs\n{text}\n\n## Generated Outputs\n{answer}\n\n## Feedback\n{feedback}\n\n"
        )
    told += "```\nProvide the new instructions within ``` blocks."
    reply = reflector(0, {"messages": [{"role": "user", "content": told}]}, False).text
    proposed = reply.split("```")[1].strip()
    assert proposed.startswith("Sort the ticket into one queue.")
    assert right(proposed) > right(weak) + 0.05
    worse = reflector(0, {"messages": [{"role": "user", "content": told}]}, True).text.split("```")[1]
    assert right(worse) < right(weak)


def test_echo_repeats_the_last_user_message() -> None:
    assert echo(0, body("be kind", "hello\nthere"), False).text == "hello\nthere"


def test_tools_calls_the_tool_that_fits_with_arguments_of_the_schema() -> None:
    offered = [
        {"type": "function", "function": {"name": "get_weather", "description": "weather of a city"}},
        {
            "type": "function",
            "function": {
                "name": "refund_order",
                "description": "give money back for an order",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "order": {"type": "integer"},
                        "reason": {"type": "string"},
                        "speed": {"type": "string", "enum": ["slow", "fast"]},
                    },
                },
            },
        },
    ]
    found = tools(0, body("", "Refund order 1234 fast", tools=offered), False)
    assert found.tool_calls == [
        ("refund_order", {"order": 1234, "reason": "Refund order 1234 fast", "speed": "fast"}),
    ]
    after = {"messages": [{"role": "tool", "content": "done"}], "tools": offered}
    assert tools(0, after, False).text == "The result is done"
    forced = {"type": "function", "function": {"name": "get_weather"}}
    assert tools(0, body("", "Refund 1", tools=offered, tool_choice=forced), False).tool_calls[0][0] == "get_weather"


@pytest.mark.parametrize("model", [classifier, judge, reflector, echo, tools])
def test_any_messages_get_an_answer(model: Any) -> None:
    for content in ("", "```", None, [{"type": "text", "text": "x"}], "- a: b\n- a: c", "é😀\x00"):
        model(0, {"messages": [{"role": "user", "content": content}]}, False)
        model(0, {"messages": [{"role": "system", "content": content}]}, True)
