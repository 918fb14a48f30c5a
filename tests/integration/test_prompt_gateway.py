"""The gateway of prompts as processes: what serves, what a rollback does to streams, and what a worker costs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from integration.prompt_gateway import PromptGateway
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.reports.doctor import examine
from trimtab.app.reports.status import status
from trimtab.records.control import Decision

Make = Callable[..., PromptGateway]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a project; its gateway ends with the test."""
    made: list[PromptGateway] = []

    def build(**options: Any) -> PromptGateway:
        made.append(PromptGateway(tmp_path / "desk", **options))
        return made[-1]

    yield build
    for each in made:
        each.stop()


def test_openais_client_asks_a_project_of_prompts_alone(make: Make) -> None:
    gateway = make()
    gateway.deploy(1)
    url = gateway.start()
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    whole = client.chat.completions.create(
        model="triage", messages=[], extra_body={"variables": {"ticket": "the parcel is late"}}
    )
    assert whole.choices[0].message.content == '{"queue":"delivery"}'
    stream = client.chat.completions.create(
        model="triage",
        messages=[],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"variables": {"ticket": "an invoice is wrong"}},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == '{"queue":"billing"}'
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert [each.id for each in client.models.list()] == ["triage"]
    thumb = {"id": whole.id, "name": "thumbs", "value": "down", "rater": "anna"}
    found = [
        httpx.post(f"{url}/v2/models/triage/feedback", json=body) for body in (thumb, {**thumb, "id": "chatcmpl-17"})
    ]
    assert [each.status_code for each in found] == [200, 404], [each.text for each in found]
    assert gateway.stop() == 0, gateway.log()
    (label,) = gateway.workspace.predictions.read_labels()[0].to_pylist()
    assert (label["prediction_id"], label["name"], label["source"], label["label"]) == (whole.id, "thumbs", "user", 1.0)
    rows = gateway.workspace.predictions.read()[0].to_pylist()
    turns = gateway.workspace.predictions.read_turns()[0].to_pylist()
    assert {row["prediction_id"] for row in rows} == {row["prediction_id"] for row in turns} == {whole.id, chunks[0].id}
    assert all(row["usage"] == "reported" and row["cost_pico"] > 0 for row in turns)


SEVERAL = """\
import trimtab as tt

price = tt.Price(input=0.15, output=0.6)
prices = dict.fromkeys(("classifier", "echo+pace=40", "classifier+status=500"), price)
local = tt.Endpoint("local", url="loopback", prices=prices, concurrent=500)
triage = tt.Prompt("triage", file="prompts/triage.md", endpoint=local)
"""
QUICK, SLOW = (f"---\nmodel: {model}\n---\n# user\n{{{{ ticket }}}}\n" for model in ("classifier", "echo+pace=40"))
BROKEN = QUICK.replace("classifier", "classifier+status=500")
STREAMS = 60


def test_the_guard_rolls_back_a_version_whose_turns_fail(make: Make) -> None:
    rollout = {"strategy": "blue-green", "rollback_when": {"error_rate": "5%", "min_requests": 20, "p99": "1us"}}
    gateway = make(definitions=SEVERAL, prompt=QUICK, rollout=rollout, llm={"retry": {"attempts": 1}})
    gateway.deploy(1, QUICK)
    url = gateway.start()
    body = {"model": "triage", "variables": {"ticket": "x"}}
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        assert client.post("/v1/chat/completions", json=body).headers["x-trimtab-version"] == "1"
        gateway.deploy(2, BROKEN)

        def rolled_back() -> bool:
            client.post("/v1/chat/completions", json=body)
            now = gateway.rollouts.current()
            return now is not None and now.action == "rollback"

        wait_for(rolled_back, "the guard rolls back")
        wait_for(lambda: client.post("/v1/chat/completions", json=body).status_code == 200, "version 1 serves again")
    (decision,) = gateway.workspace.metadata.find(Decision, model="triage")
    assert (decision.action, decision.version) == ("rollback", 2)
    assert "failed" in decision.reasons[0]


def test_no_stream_breaks_when_a_rollback_and_a_worker_restart_come_between(make: Make) -> None:
    gateway = make(definitions=SEVERAL, prompt=QUICK, rollout={"strategy": "blue-green"}, llm={"workers": 2})
    gateway.deploy(1, QUICK)
    gateway.deploy(2, SLOW)
    url = gateway.start()
    words = " ".join(f"word{n}" for n in range(40))

    async def one(client: httpx.AsyncClient, began: asyncio.Semaphore) -> tuple[str, list[Any]]:
        body = {"model": "triage", "stream": True, "variables": {"ticket": words}}
        async with client.stream("POST", "/v1/chat/completions", json=body) as found:
            began.release()
            assert found.status_code == 200
            lines = [line async for line in found.aiter_lines() if line.startswith("data: ")]
        return found.headers["x-trimtab-version"], lines

    async def run() -> tuple[list[tuple[str, list[Any]]], float]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            began = asyncio.Semaphore(0)
            asked = [asyncio.create_task(one(client, began)) for _ in range(STREAMS)]
            for _ in range(STREAMS):
                await began.acquire()
            found = running_gateway(gateway.workspace.run_folder)
            assert found is not None
            os.kill(found.workers[0], signal.SIGTERM)
            gateway.rollouts.rollback(cause="test", reason="a test", by="tests")
            started = time.monotonic()
            while True:
                fresh = await client.post(
                    "/v1/chat/completions", json={"model": "triage", "variables": {"ticket": "x"}}
                )
                assert fresh.status_code == 200, fresh.text
                if fresh.headers["x-trimtab-version"] == "1":
                    break
            took = time.monotonic() - started
            return await asyncio.gather(*asked), took

    streams, took = asyncio.run(run())
    assert [version for version, _ in streams] == ["2"] * STREAMS
    assert all(lines[-1] == "data: [DONE]" for _, lines in streams)
    assert all(sum('"content":"' in line for line in lines) >= 40 for _, lines in streams)
    print(f"the rollback took {took:.2f} s")
    assert gateway.stop() == 0, gateway.log()
    rows = gateway.workspace.predictions.read()[0].to_pylist()
    assert all(row["error"] is None for row in rows)
    assert len([row for row in rows if row["version"] == 2]) >= STREAMS


MODEL_BESIDE = """
flights = tt.FileSource("flights", "flights.parquet", timestamp="moment")
delay = tt.Model("delay", task="binary", examples=flights, label="late", features=["row"])


@delay.trainer
def train(data, params, seed):
    raise NotImplementedError
"""


def test_a_project_of_models_and_prompts_has_two_gateways_which_end_together(make: Make) -> None:
    gateway = make(definitions=SEVERAL + MODEL_BESIDE, prompt=QUICK)
    gateway.deploy(1, QUICK)
    prompts = gateway.start()
    models = wait_for(lambda: running_gateway(gateway.workspace.run_folder), "the gateway of models announces itself")
    assert models.port != httpx.URL(prompts).port
    body = {"model": "triage", "variables": {"ticket": "x"}}
    assert httpx.post(f"{prompts}/v1/chat/completions", json=body).status_code == 200
    ready = httpx.get(f"http://127.0.0.1:{models.port}/v2/health/ready").json()
    assert "triage" not in str(ready)
    found = httpx.post(f"{models.url}/v1/chat/completions", json=body)
    assert (found.status_code, found.json()["error"]["type"]) == (404, "invalid_request_error")
    assert f"prompts are served at {prompts}/v1" in found.json()["error"]["message"]
    found = httpx.post(f"{prompts}/v2/models/delay/infer", json={})
    assert found.status_code == 404
    assert found.json()["error"].endswith(f"models are served at {models.url}")
    with pytest.raises(openai.NotFoundError, match="prompts answer POST /v1/chat/completions"):
        openai.OpenAI(base_url=f"{prompts}/v1", api_key="none").responses.create(model="triage", input="x")
    (looked,) = [each for each in examine(gateway.folder, "local") if each.subject == "gateway of prompts"]
    assert looked.text.startswith(f"runs at {prompts}/v1 ")
    told = status(gateway.workspace)
    assert (told["gateway"]["url"], told["prompt_gateway"]["url"]) == (models.url, prompts)
    assert gateway.stop() == 0, gateway.log()
    assert running_gateway(gateway.workspace.run_folder / "prompts") is None
