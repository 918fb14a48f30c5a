"""What is kept of turns: no canary in any file, trace, metric or answer; texts as the policy says; spans of calls."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from integration.otlp_receiver import Receiver, attributes, receiving
from kit.canaries import CASES, Case
from trimtab.bundle.prompt_spec import MessageTemplate, TargetSpec, VariableSpec
from trimtab.llm.redaction.project_key import FILE, project_key
from trimtab.serving.orders import Grant
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from unit.serving.chat.conftest import CHAT, Chatting, Run, priced

ENDPOINT_KEY = "sk-CANARYendpointKEY0123456789abcdef"
TOKEN = "tt_CANARYtoken0123456789"
SYSTEM = "CANARY-SYSTEM-PROMPT never say this"
USER, CONVERSATION = "canary-user@example.org", "canary-conversation"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("MAIN_KEY", ENDPOINT_KEY)
    with receiving() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server


def grant(secret: str, name: str = "shop") -> Grant:
    return Grant(hashlib.sha256(secret.encode()).hexdigest(), name, (), ("chat", "feedback"), None)


def serve_echo(chat: Chatting, model: str = "echo", **more: Any) -> None:
    target = TargetSpec(endpoint=priced(chat.loopback.url, key="MAIN_KEY"), model=model)
    system = MessageTemplate(role="system", text=SYSTEM)
    user = MessageTemplate(role="user", text="{{ ticket }}")
    variables = {"ticket": VariableSpec(default="hello")}
    prompt = chat.prompt(1, target=target, messages=(system, user), variables=variables, **more)
    chat.serve(("champion", prompt, 100))


def body_of(case: Case, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": case.text}] if case.place == "answer" else case.messages
    body = {"model": "triage", "messages": messages, "variables": case.variables, "user": USER}
    return body | {"stream": stream, "metadata": {"conversation_id": CONVERSATION, "note": case.secret}}


def found_in(folder: Path, secret: str, *, but: str = "") -> list[str]:
    """Return the files that hold a text: in their bytes, as a column of a table, or in a database."""
    raw = secret.encode()
    escaped = json.dumps(secret)[1:-1].encode()
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file() and not (but and path.match(but))):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data = repr(pq.read_table(path).to_pylist()).encode()
        if raw in data or escaped in data or raw.lower() in data.lower():
            found.append(str(path.relative_to(folder)))
    return found


def spans_text(receiver: Receiver) -> str:
    return "\n".join(repr(attributes(span)) + span.name + span.status.message for span in receiver.spans)


def test_no_canary_is_in_any_file_trace_metric_log_or_answer_of_another(
    run_chat: Run, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    statuses: list[int] = []
    answers: list[str] = []
    metrics: list[str] = []

    async def test(chat: Chatting) -> None:
        serve_echo(chat)
        for number, case in enumerate(CASES):
            reply = await chat.http.post(
                CHAT, json=body_of(case, stream=number % 2 == 1), headers={"authorization": f"Bearer {TOKEN}"}
            )
            statuses.append(reply.status_code)
            answers.append(reply.text + str(reply.headers))
        wrong = await chat.http.post(CHAT, json={"model": CASES[0].text}, headers={"authorization": f"Bearer {TOKEN}"})
        answers.append(wrong.text)
        assert chat.traces is not None
        chat.traces.close()
        metrics.append(chat.gateway.metrics.expose(None)[0].decode())

    chat = run_chat(test, grants=[grant(TOKEN)], traced=True, store={"traces": "masked"})
    SegmentLog(chat.folder / "log").compact(grace_s=-1e9, keep_s=3e9)
    trace = spans_text(receiver)
    assert (len(CASES), statuses.count(200)) == (50, 50)
    assert len(chat.rows("turns")) == 50
    assert "<EMAIL_1>" in trace
    for secret in [case.secret for case in CASES] + [USER, CONVERSATION, ENDPOINT_KEY, TOKEN]:
        assert found_in(chat.folder, secret) == [], secret
        assert secret not in trace, secret
        assert secret not in metrics[0], secret
        assert secret not in caplog.text, secret
    prompts = "triage-1-*/prompt.json"
    assert found_in(chat.folder, SYSTEM, but=prompts) == []
    for hidden in (SYSTEM, ENDPOINT_KEY, TOKEN, project_key(chat.folder).key.hex()):
        assert not any(hidden in text for text in (*answers, trace, metrics[0], caplog.text))
    assert oct((chat.folder / FILE).stat().st_mode & 0o777) == "0o600"


def test_an_error_of_an_endpoint_is_kept_masked_and_reaches_no_client(run_chat: Run, receiver: Receiver) -> None:
    said: list[str] = []

    async def test(chat: Chatting) -> None:
        serve_echo(chat, "echo+status=400+text=bad words")
        reply = await chat.ask({"messages": [{"role": "user", "content": "my key is " + ENDPOINT_KEY}]})
        said.append(reply.text)

    chat = run_chat(test)
    parts = {row["part"]: row["text"] for row in chat.rows("contents")}
    assert parts["messages.2.user"] == "my key is <SECRET_1>"
    assert "bad words" in parts["error"]
    assert "bad words" not in said[0]
    assert found_in(chat.folder, ENDPOINT_KEY) == []


@pytest.mark.parametrize("mode", ["full", "hash"])
def test_texts_are_kept_as_the_policy_says(run_chat: Run, receiver: Receiver, mode: str) -> None:
    async def test(chat: Chatting) -> None:
        serve_echo(chat)
        await chat.ask({"variables": {"ticket": "mail anna@example.org " + "word " * 2000}})

    chat = run_chat(test, store={"messages": mode})
    rows = chat.rows("contents")
    assert [row["part"] for row in rows] == ["messages.1.user", "answer"]
    assert all(row["mode"] == mode and row["chars"] > 1000 for row in rows)
    assert all(("anna@example.org" in row["text"]) is (mode == "full") for row in rows)
    if mode == "hash":
        key = project_key(chat.folder)
        assert rows[0]["text"] == key.of_text("mail anna@example.org " + "word " * 2000)
        assert rows[0]["key_id"] == key.id


def test_each_call_of_an_endpoint_is_a_span(run_chat: Run, receiver: Receiver) -> None:
    async def test(chat: Chatting) -> None:
        bad = priced(chat.loopback.url, name="first", key="MAIN_KEY")
        good = priced(chat.loopback.url, name="second", key="MAIN_KEY")
        prompt = chat.prompt(
            1,
            target=TargetSpec(endpoint=bad, model="echo+status=500"),
            fallbacks=(TargetSpec(endpoint=good, model="echo"),),
        )
        chat.serve(("champion", prompt, 100))
        await chat.events({"variables": {"ticket": "secret words"}, "user": USER})
        assert chat.traces is not None
        chat.traces.close()

    chat = run_chat(test, traced=True, retry={"attempts": 1})
    request = receiver.named(f"POST {CHAT}")
    failed, answered = receiver.named("chat echo+status=500"), receiver.named("chat echo")
    noted, told = attributes(request), attributes(answered)
    (turn,) = chat.rows("turns")
    assert failed.parent_span_id == answered.parent_span_id == request.span_id
    assert answered.kind == answered.SPAN_KIND_CLIENT
    assert attributes(failed)["error.type"] == "5xx"
    assert failed.end_time_unix_nano <= answered.start_time_unix_nano <= answered.end_time_unix_nano
    assert noted["gen_ai.prompt.name"] == "triage"
    assert noted["gen_ai.response.id"] == turn["prediction_id"]
    assert noted["trimtab.cost"] == pytest.approx(turn["cost_pico"] / 1e12)
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == told["trimtab.endpoint"] == "second"
    assert (told["gen_ai.request.model"], told["gen_ai.request.stream"]) == ("echo", True)
    assert told["gen_ai.usage.input_tokens"] == turn["input_tokens"] > 0
    assert told["gen_ai.usage.output_tokens"] == turn["output_tokens"] > 0
    assert [each.string_value for each in told["gen_ai.response.finish_reasons"].values] == ["stop"]
    assert told["gen_ai.response.time_to_first_chunk"] > 0
    assert told["server.address"] == "127.0.0.1"
    messages = json.loads(noted["gen_ai.input.messages"])
    assert messages[-1]["role"] == "user"
    assert messages[-1]["parts"][0]["content"].startswith("hmac-sha256:")
    assert "secret words" not in spans_text(receiver)
    assert USER not in spans_text(receiver)
