"""The loopback provider over HTTP: OpenAI's own client reads it; its faults and its bill."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import openai
import pytest

from kit.loopback import QUEUES, asked, endpoint, loopback
from kit.waiting import wait_for
from trimtab.llm.loopback.announcement import ANNOUNCED, RunningLoopback, announced
from trimtab.llm.loopback.fault_modes import Faults, parse_faults
from trimtab.llm.loopback.loopback_bill import KEPT_BYTES, Bill
from trimtab.llm.loopback.starting import OpenLoopback, resolved, running
from trimtab.llm.loopback.word_pieces import pieces_of

__all__ = ["loopback"]


def client(found: OpenLoopback) -> openai.OpenAI:
    return openai.OpenAI(base_url=found.url, api_key="key of a test", max_retries=0)


def test_the_openai_client_reads_answers_streams_embeddings_and_models(loopback: OpenLoopback) -> None:
    with client(loopback) as ask:
        body = asked("Parcel still not here", QUEUES)
        whole = ask.chat.completions.create(model="classifier", **body)
        assert whole.choices[0].message.content == "shipping"
        chunks = list(
            ask.chat.completions.create(model="classifier", stream=True, stream_options={"include_usage": True}, **body)
        )
        assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == "shipping"
        assert chunks[-1].usage is not None
        assert whole.usage is not None
        assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
        near, same, far = (
            each.embedding
            for each in ask.embeddings.create(
                model="embedding", input=["the parcel is late", "late is the parcel", "a password was lost"]
            ).data
        )
        assert sum(a * b for a, b in zip(near, same, strict=True)) > 0.6
        assert sum(a * b for a, b in zip(near, far, strict=True)) < 0.3
        assert [each.id for each in ask.models.list()][:2] == ["classifier", "judge"]
        assert loopback.bill.calls[0].headers["authorization"] == "Bearer key of a test"


def test_the_same_seed_model_and_messages_give_the_same_answer() -> None:
    body = asked("nothing that a queue describes", QUEUES)
    answers = []
    for seed in (0, 0, 5, 6, 7, 8):
        with running(seed) as found, client(found) as ask:
            answers.append(ask.chat.completions.create(model="classifier", **body).choices[0].message.content)
    assert answers[0] == answers[1]
    assert len(set(answers)) > 1


def test_errors_have_openai_s_shape(loopback: OpenLoopback) -> None:
    with client(loopback) as ask:
        with pytest.raises(openai.NotFoundError, match="Did you mean 'classifier'"):
            ask.chat.completions.create(model="classifer", **asked("x"))
        with pytest.raises(openai.BadRequestError, match=r"unknown fault 'flakey'\. Did you mean 'flaky'"):
            ask.chat.completions.create(model="echo+flakey=1", **asked("x"))
        with pytest.raises(openai.RateLimitError) as raised:
            ask.chat.completions.create(model="echo+status=429+retry_after=7", **asked("x"))
        assert raised.value.response.headers["retry-after"] == "7"
        with pytest.raises(openai.InternalServerError):
            ask.chat.completions.create(model="echo", extra_headers={"x-loopback-fault": "status=503"}, **asked("x"))


def test_k_of_n_calls_fail(loopback: OpenLoopback) -> None:
    def status(model: str) -> int:
        try:
            ask.chat.completions.create(model=model, **asked("x"))
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    with client(loopback) as ask:
        assert [status("echo+status=500+k=1+n=3") for _ in range(6)] == [500, 200, 200, 500, 200, 200]
        assert [status("echo+status=500+times=2") for _ in range(4)] == [500, 500, 200, 200]


def test_streams_that_break_look_to_openai_s_client_as_those_of_providers_do(loopback: OpenLoopback) -> None:
    def read(model: str) -> str:
        chunks = ask.chat.completions.create(model=model, stream=True, **asked("one two three four five six"))
        return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)

    with client(loopback) as ask:
        for fault in ("crlf", "comments", "joined", "multiline", "no_done", "split=40"):
            assert read(f"echo+{fault}") == "one two three four five six"
        assert read("echo+cut=event") == "one two three"
        with pytest.raises(openai.APIConnectionError):
            read("echo+cut")
        with pytest.raises(openai.APIError, match="asked for this error"):
            read("echo+error")


def test_the_bill_charges_what_was_sent_until_the_client_hung_up(loopback: OpenLoopback) -> None:
    with client(loopback) as ask:
        chunks = iter(ask.chat.completions.create(model="echo+tokens=1000+pace=5", stream=True, **asked("word " * 50)))
        for _ in range(6):
            next(chunks)
    wait_for(lambda: loopback.bill.totals.hung_up == 1, "the client to have hung up")
    call = loopback.bill.calls[0]
    assert call.hung_up
    assert 5 <= call.sent_tokens <= call.output_tokens < 1000
    assert call.input_tokens == len(pieces_of("word " * 50)) + 4
    assert loopback.bill.totals.output_tokens == call.output_tokens


def test_the_bill_charges_nothing_for_errors_and_hidden_tokens_for_answers(loopback: OpenLoopback) -> None:
    with client(loopback) as ask:
        with pytest.raises(openai.APIStatusError):
            ask.chat.completions.create(model="echo+status=500", **asked("x"))
        assert loopback.bill.calls[-1].input_tokens == 0
        model = "echo+cached=0.5+reasoning=20+usage=exclusive"
        answer = ask.chat.completions.create(model=model, **asked("a b c d e f"))
    call = loopback.bill.calls[-1]
    assert (call.input_tokens, call.cached_tokens, call.output_tokens, call.reasoning_tokens) == (10, 5, 26, 20)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 5


def test_the_bill_can_be_fetched_and_cleared(loopback: OpenLoopback) -> None:
    with client(loopback) as ask:
        ask.chat.completions.create(model="echo", **asked("x"))
    parts = urlsplit(loopback.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.request("GET", "/loopback/bill")
    found = json.loads(connection.getresponse().read())
    assert found["totals"]["requests"] == 1
    assert found["calls"][0]["body"]["messages"][0]["content"] == "x"
    connection.request("DELETE", "/loopback/bill")
    assert json.loads(connection.getresponse().read())["calls"] == []
    connection.close()


def test_a_bill_keeps_the_newest_requests_within_its_bytes_and_counts_all() -> None:
    bill = Bill()
    for number in range(5):
        bill.end(bill.begin(f"/{number}", {}, 0.0, KEPT_BYTES // 2), 0.0)
    assert [call.path for call in bill.calls] == ["/3", "/4"]
    assert bill.totals.requests == 5


def test_flaky_answers_differ_between_calls_and_drift_begins_after_some_calls(loopback: OpenLoopback) -> None:
    def answers(model: str, count: int) -> list[str | None]:
        body = asked("Parcel still not here", QUEUES)
        return [ask.chat.completions.create(model=model, **body).choices[0].message.content for _ in range(count)]

    with client(loopback) as ask:
        flaky = answers("classifier+flaky=0.3", 40)
        assert 4 < flaky.count("shipping") < 40
        drifting = answers("classifier+drift=1+after=3", 6)
        assert drifting[:3] == ["shipping"] * 3
        assert "shipping" not in drifting[3:]


def test_faults_are_read_with_their_bare_forms() -> None:
    assert parse_faults("flaky=0.2+slow") == Faults(flaky=0.2, first=500, pace=50)
    assert parse_faults("hang=mid+usage") == Faults(hang="mid", usage="missing")
    with pytest.raises(ValueError, match="fault 'cut=half'"):
        parse_faults("cut=half")


def test_an_endpoint_of_the_loopback_provider_resolves_to_what_the_run_folder_announces(
    loopback: OpenLoopback, tmp_path: Path
) -> None:
    assert resolved(endpoint("http://other/v1"), tmp_path) == "http://other/v1"
    own = resolved(endpoint("loopback"), tmp_path)
    assert own == resolved(endpoint("loopback")) != loopback.url
    (tmp_path / ANNOUNCED).write_bytes(msgspec.json.encode(RunningLoopback(url=loopback.url, pid=1)))
    assert resolved(endpoint("loopback"), tmp_path) == loopback.url
    gone = RunningLoopback(url="http://127.0.0.1:9/v1", pid=1)
    (tmp_path / ANNOUNCED).write_bytes(msgspec.json.encode(gone))
    assert announced(tmp_path) is None
    assert resolved(endpoint("loopback"), tmp_path) == own
