"""Lets a real language model answer through the gateway: python -m clients.with_smollm PYTHON (with torch) BASE.

SmolLM2 has 135 million parameters. What is tested are the wire and the loop; its answers are poor, and are not judged.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import yaml

from clients.orchestrated import trimtab
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.gateway.prompt_gateway import prompt_run_folder
from trimtab.app.project import templates
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest

ITEMS = 20
LOCAL_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
"""For programs of the environment that has torch."""
DEFINITIONS = """\
import trimtab as tt

free = tt.Price(input=0, output=0)
endpoint = tt.Endpoint("local", url="{url}", prices={{"{base}": free, "{model}": free}}, concurrent=1)
pairs = tt.FileSource("pairs", "data/pairs.jsonl", timestamp="at")
small = tt.LoRA("small", base="{folder}", examples=pairs, prompt="ticket", answer="queue", steps=10)
tickets = tt.EvalSet("tickets", source="data/tickets.jsonl", inputs=["ticket"], expected="queue", cluster="customer")
triage = tt.Prompt(
    "triage",
    file="prompts/triage.md",
    endpoint=endpoint,
    model="{model}",
    params={{"temperature": 0, "max_completion_tokens": 8}},
    evals=[tt.Eval(tickets, tt.exact(), tt.no_pii())],
)
"""
PROMPT = """\
---
variables: { ticket: { max_chars: 4000 } }
---
# user
{{ ticket }}
"""
SLOW = {"first_token": "5m", "between_tokens": "2m", "total": "10m"}
POLICY = {
    "project": "desk",
    "serving": {"port": 0},
    "llm": {
        "timeouts": SLOW,
        "evaluate": {"concurrent": 1, "min_items": ITEMS, "max_repeats": 1},
        "gates": {"first_token": {"p95": "5m"}},
    },
    "rollout": {"strategy": "canary", "canary": {"steps": ["50%"]}},
}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CAPITAL: Any = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


def main(python: Path, base: Path) -> int:
    """Ask the model itself, then a prompt of it through the gateway, then train an adapter that challenges it."""
    with tempfile.TemporaryDirectory() as place:
        project = Path(place, "desk")
        with local_model(python, base) as (url, models):
            assert models == [base.name], models
            serve(project, url, base)
        step("an adapter")
        trimtab(project, "ingest")
        adapters = [train(project, python) for _ in range(2)]
        assert adapters[0]["known"] is False
        assert adapters[1]["known"] is True
        metrics = adapters[0]["run"]["metrics"]
        assert metrics["loss_after"] < metrics["loss_before"], metrics
        with local_model(python, base, Path(adapters[0]["folder"])) as (url, models):
            challenge(project, url, base, models)
        step("the same adapter in another project")
        check_same_again(project, python, adapters[0]["run"])
    return 0


def serve(project: Path, url: str, base: Path) -> None:
    """Ask the model, then a prompt of it."""
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=PATIENCE_S) as client:
        check_alone(client, base.name)
    make_project(project, url, base)
    step("trimtab run")
    trimtab(project, "run")
    assert show_report(open_workspace(project)).verdict != "fail"
    step("through the gateway")
    with (
        gateway(open_workspace(project)) as served,
        openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S) as client,
    ):
        check_through_gateway(client)
    check_logged(open_workspace(project))


def train(project: Path, python: Path) -> dict[str, Any]:
    """Run `trimtab tune --lora`; return what it prints."""
    command = [sys.executable, "-m", "trimtab.cli", "tune", "--lora", "small", "--python", str(python), "--json"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--project", str(project)], capture_output=True, text=True, check=False, env=LOCAL_ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{found['model']}: {found['run']['metrics']} after {time.monotonic() - begun:.0f} s", flush=True)
    return found


def check_same_again(project: Path, python: Path, run: dict[str, Any]) -> None:
    """Check that rows, base, rank, steps and seed decide the adapter."""
    other = project.with_name("other")
    make_project(other, "http://127.0.0.1:9/v1", Path(run["params"]["base"]))
    trimtab(other, "ingest")
    assert train(other, python)["run"]["model_hash"] == run["model_hash"]


def challenge(project: Path, url: str, base: Path, models: list[str]) -> None:
    """Let a version with the adapter pass the gates, and challenge the one without."""
    define(project, url, base, models[1])
    step("trimtab run, with the adapter")
    trimtab(project, "run")
    workspace = open_workspace(project)
    assert show_report(workspace).verdict != "fail"
    revision = open_rollouts(workspace, "triage").current()
    assert revision is not None
    print(revision.assignments)
    assert revision.bundle_in("champion") == "triage/1"
    assert revision.bundle_in("challenger") == "triage/2"


def check_alone(client: openai.OpenAI, model: str) -> None:
    """Check the local server: whole and streamed are the same, limits and stop texts hold, tools are ignored."""

    def ask(**options: Any) -> Any:
        given = {"temperature": 0, "max_completion_tokens": 24, **options}
        return client.chat.completions.create(model=model, messages=CAPITAL, **given)

    step("the model itself")
    begun = time.monotonic()
    whole = ask()
    text, usage = whole.choices[0].message.content, whole.usage
    print(f"{text!r} in {time.monotonic() - begun:.1f} s; {usage.prompt_tokens} + {usage.completion_tokens} tokens")
    assert "Paris" in text, text
    assert whole.choices[0].finish_reason == "stop", whole
    assert ask(tools=[TOOL]).choices[0].message.content == text
    begun, pieces, first, chunks = time.monotonic(), [], 0.0, []
    for chunk in ask(stream=True, stream_options={"include_usage": True}):
        chunks.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.monotonic() - begun
            pieces.append(chunk.choices[0].delta.content)
    print(
        f"streamed in {len(pieces)} pieces, the first after {first:.2f} s, all after {time.monotonic() - begun:.1f} s"
    )
    assert ("".join(pieces), chunks[-1].usage) == (text, usage)
    assert len(pieces) > 2, pieces
    short = ask(max_completion_tokens=3)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3), short
    stopped = ask(stop=["Paris"])
    assert (stopped.choices[0].finish_reason, stopped.choices[0].message.content) == (
        "stop",
        text.partition("Paris")[0],
    )
    seeded = [ask(temperature=1.0, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    print(f"at temperature 1, seed 1: {seeded[0]!r}, seed 2: {seeded[2]!r}")
    assert seeded[0] == seeded[1], seeded


def check_through_gateway(client: openai.OpenAI) -> None:
    """Check that the gateway passes on what the model says, whole and streamed."""
    ask: dict[str, Any] = {
        "model": "triage",
        "messages": [],
        "extra_body": {"variables": {"ticket": "Where is my parcel?"}},
    }
    whole = client.chat.completions.create(**ask)
    text = whole.choices[0].message.content
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    print(f"{text!r}, {whole.usage}")
    assert streamed == text
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens > 0
    short = client.chat.completions.create(**ask, max_completion_tokens=1)
    assert short.choices[0].finish_reason == "length"


def check_logged(workspace: Workspace) -> None:
    """Check that turns hold the model's own count of tokens."""
    turns = workspace.predictions.read_turns()[0].to_pylist()
    for turn in turns:
        print({name: turn[name] for name in ("usage", "input_tokens", "output_tokens", "finish_reason", "stream")})
    assert [turn["usage"] for turn in turns] == ["reported"] * 3


def show_report(workspace: Workspace) -> GateReport:
    """Print what the gates said, and return it."""
    found = latest(workspace.metadata, GateReport, model="triage")
    assert found is not None
    for result in found.results:
        print(f"{result.gate:12} {result.metric:16} {result.verdict:6} {result.details}")
    bundles = [each.id for each in workspace.metadata.find(Bundle, model="triage")]
    print(f"{found.verdict}; registered: {bundles}")
    return found


def make_project(folder: Path, url: str, base: Path) -> None:
    """Make the tickets of the example `llm`: the first ones judge, the others are for training."""
    templates.init("llm", folder)
    rows = [json.loads(line) for line in (folder / "data" / "tickets.jsonl").read_text().splitlines()]
    pairs = [{**row, "at": f"2026-01-01T00:{at // 60:02}:{at % 60:02}Z"} for at, row in enumerate(rows[ITEMS:])]
    for name, some in (("tickets", rows[:ITEMS]), ("pairs", pairs)):
        (folder / "data" / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in some))
    (folder / "prompts" / "triage.md").write_text(PROMPT)
    (folder / "trimtab.yaml").write_text(yaml.safe_dump(POLICY))
    define(folder, url, base, base.name)


def define(folder: Path, url: str, base: Path, model: str) -> None:
    """Write the definitions with the model that the prompt names."""
    text = DEFINITIONS.format(url=url, base=base.name, folder=base.resolve(), model=model)
    (folder / "definitions.py").write_text(text)


@contextmanager
def local_model(python: Path, base: Path, *adapters: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve weights in the environment that has torch; give URL and names of models."""
    command = [str(python), "-m", "trimtab.llm.local_model", "--base", str(base)]
    for each in adapters:
        command += ["--adapter", str(each)]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=LOCAL_ENVIRONMENT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the local model ended with {process.wait()}"
        found = json.loads(line)
        print(f"{', '.join(found['models'])} ready after {time.monotonic() - begun:.0f} s", flush=True)
        yield found["url"], found["models"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


@contextmanager
def gateway(workspace: Workspace) -> Iterator[str]:
    """Run `trimtab serve`; give its URL."""
    command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(workspace.project.folder)]
    process = subprocess.Popen(command)
    try:

        def announced() -> str | None:
            assert process.poll() is None, f"the gateway ended with {process.returncode}"
            found = running_gateway(prompt_run_folder(workspace))
            return url_of(found) if found else None

        yield str(wait_for(announced, "the gateway announces itself"))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def step(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
