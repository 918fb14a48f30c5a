"""The gateway of prompts as processes: what serves, what a rollback does to streams, and what a worker costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from integration.prompt_gateway import PromptGateway

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
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert [each.id for each in client.models.list()] == ["triage"]
    assert gateway.stop() == 0, gateway.log()
    rows = gateway.workspace.predictions.read()[0].to_pylist()
    turns = gateway.workspace.predictions.read_turns()[0].to_pylist()
    assert {row["prediction_id"] for row in rows} == {row["prediction_id"] for row in turns} == {whole.id, chunks[0].id}
    assert all(row["usage"] == "reported" and row["cost_pico"] > 0 for row in turns)
