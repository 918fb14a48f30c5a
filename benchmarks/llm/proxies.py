"""Starts the loopback provider, and before it the gateway of a project with one prompt and litellm's proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from benchmarks.serving.processes import cpu_seconds
from benchmarks.serving.servers import LOCALHOST, NotRunning, free_port, stop
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.gateway.prompt_gateway import prompt_run_folder
from trimtab.app.project.workspace import open_workspace
from trimtab.clock import SystemClock

BENCH = Path(__file__).parents[2] / ".bench"
READY_S = 120.0
ITEMS = 60
DEFINITIONS = """\
import trimtab as tt

near = tt.Endpoint("near", url="{url}", prices={{"{model}": tt.Price(input=0.15, output=0.60)}}, concurrent=1000)
texts = tt.EvalSet("texts", source="evals/texts.jsonl", inputs=["text"])
say = tt.Prompt("say", file="prompts/say.md", endpoint=near, model="{model}", evals=[tt.Eval(texts, tt.exact())])
"""
PROMPT = """\
---
variables: { text: { default: "say this" } }
---
# system
Repeat what you are told.
# user
{{ text }}
"""
POLICY = """\
project: proxy
serving: {{ port: 0, log: {{ durability: {durability} }} }}
llm:
  budgets: {{ project: {{ limit: 100000/day }} }}
  limits: {{ requests: 10000000/min, tokens: 10000000000/min, concurrent: 10000 }}
"""


class Proxy:
    """A running server with OpenAI's interface.

    model: its name for the model behind it. process: None where nothing is measured of it. ready_s: from the start of
    its process to its first answer. ready_cpu_s: processor time until then.
    """

    def __init__(self, title: str, url: str, model: str) -> None:
        self.title = title
        self.url = url
        self.model = model
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_s = self.ready_cpu_s = 0.0


@contextmanager
def provider(model: str) -> Iterator[Proxy]:
    """Run the loopback provider: the stand-in for language models that all proxies ask."""
    command = [sys.executable, "-m", "trimtab.llm.loopback"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        yield Proxy("no proxy", json.loads(process.stdout.readline())["url"], model)
    finally:
        stop(process)


@contextmanager
def trimtab(work: Path, behind: Proxy, durability: str = "interval") -> Iterator[Proxy]:
    """Evaluate and register a prompt as a user does, and run its gateway: it logs, books and redacts each turn.

    durability: of the log. acknowledged: an answer waits until its turn is on the disk.
    """
    texts = [{"text": f"text number {number}", "expected": f"text number {number}"} for number in range(ITEMS)]
    for name, text in {
        "definitions.py": DEFINITIONS.format(url=behind.url, model=behind.model),
        "trimtab.yaml": POLICY.format(durability=durability),
        "prompts/say.md": PROMPT,
        "evals/texts.jsonl": "".join(json.dumps(each) + "\n" for each in texts),
    }.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    command = [sys.executable, "-m", "trimtab.cli"]
    done = subprocess.run([*command, "run", "--project", str(work)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotRunning(f"trimtab run: {done.stdout[-500:]} {done.stderr[-500:]}")
    run_folder = prompt_run_folder(open_workspace(work))

    def url() -> str | None:
        found = running_gateway(run_folder)
        return None if found is None else f"{url_of(found)}/v1"

    with _started(f"Trimtab, {durability}", "say", [*command, "serve", "--project", str(work)], work, url) as found:
        yield found


@contextmanager
def litellm(work: Path, behind: Proxy) -> Iterator[Proxy]:
    """Run litellm's proxy, without a database. Raises NotRunning where it is not installed."""
    program = BENCH / "litellm" / "bin" / "litellm"
    if not program.exists():
        raise NotRunning("not installed; `sh scripts/bench_venvs.sh litellm` installs it into .bench/")
    port = free_port()
    params = {"model": f"openai/{behind.model}", "api_base": behind.url, "api_key": "none"}
    config = {"model_list": [{"model_name": "say", "litellm_params": params}]}
    (work / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [str(program), "--config", str(work / "litellm.yaml"), "--host", LOCALHOST, "--port", str(port)]
    command += ["--telemetry", "False"]
    plain = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY")
    environment = {**os.environ, **dict.fromkeys(plain, "True"), "LITELLM_LOG": "ERROR"}
    url = f"http://{LOCALHOST}:{port}/v1"
    with _started("litellm", "say", command, work, lambda: url, environment) as found:
        yield found


@contextmanager
def _started(
    title: str,
    model: str,
    command: Sequence[str],
    work: Path,
    url: Callable[[], str | None],
    environment: Mapping[str, str] | None = None,
) -> Iterator[Proxy]:
    """Start a server, and wait until it answers."""
    log = work / f"{title}.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        while (found := url()) is None or not _answers(found, model):
            if process.poll() is not None or time.perf_counter() - began > READY_S:
                raise NotRunning(f"{title} did not start: {log.read_text(errors='replace')[-500:]}")
            SystemClock().sleep(0.05)
        proxy = Proxy(title, found, model)
        proxy.process, proxy.ready_s = process, time.perf_counter() - began
        proxy.ready_cpu_s = cpu_seconds(process.pid)
        yield proxy
    finally:
        stop(process)


def _answers(url: str, model: str) -> bool:
    body = {"model": model, "messages": [{"role": "user", "content": "ready?"}]}
    try:
        return httpx.post(f"{url}/chat/completions", content=msgspec.json.encode(body), timeout=10).status_code == 200
    except httpx.HTTPError:
        return False
