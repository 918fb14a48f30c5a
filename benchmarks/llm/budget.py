"""`PYTHONPATH=tests python -m benchmarks.llm.budget [--only PART] [--alone]`: money, beside litellm's proxy.

Parts: `limit` (200 callers at once at a limit of money), `killed` (the same, with workers that are killed),
`truth` (the cost of 1,000 turns: cached, reasoning, silent, cancelled, retried, compared with the provider's bill).
litellm runs where `sh scripts/bench_venvs.sh litellm` could install it. The provider is the loopback one, and its bill
is the truth. Exit code 1 when a limit is passed, a turn that reports its usage is not exact, or others are off by more
than 10 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from integration.prompt_gateway import PromptGateway, plain_spec
from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.llm.spending import open_ledger, spend_store
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.prompt_spec import TURN_FEATURES, write_prompt
from trimtab.bundle.spec import write_spec
from trimtab.llm.loopback.loopback_bill import BilledCall
from trimtab.llm.loopback.starting import OpenLoopback, running
from trimtab.records.training import Bundle

CALLERS, WORKERS = 200, 4
LIMIT = 0.5
"""Money; a call costs about 0.01."""
KILLED_LIMIT = 2.0
INPUT, OUTPUT, CACHED = 50.0, 200.0, 5.0
"""Money for a million tokens."""
PICO = 10**12
SLOW = "echo+first=100+pace=5"
KINDS = {
    "plain": "echo",
    "cached": "echo+cached=0.5",
    "reasoning": "echo+reasoning=40",
    "silent": "echo+usage=missing",
    "retried": "echo+status=500+k=1+n=2",
    "cancelled": "echo+pace=4",
}
"""Kind of turn: the model of the loopback provider, with its faults."""
MODELS = {"slow": SLOW, **KINDS}
KEY = f"sk-{secrets.token_hex(32)}"
"""litellm does not start without one."""
PEER = Path(__file__).parents[2] / ".bench" / "litellm" / "bin"
DEFINITIONS = """
import trimtab as tt

price = tt.Price(input={input}, output={output}, cached={cached})
local = tt.Endpoint("local", url="{url}", prices=dict.fromkeys({models}, price), concurrent=1000)

{prompts}
"""
PROMPT = """---
params: { max_completion_tokens: 60 }
---
# system
Say it again.
"""
SENTENCE = "the parcel of an order that was paid twice has not come and its invoice is wrong again"
WORDS = SENTENCE.split()


def price(call: BilledCall) -> int:
    """Return what the provider charges for a call, in 1e-12."""
    plain = call.input_tokens - call.cached_tokens
    return round(plain * INPUT * 1e6 + call.cached_tokens * CACHED * 1e6 + call.output_tokens * OUTPUT * 1e6)


def text(number: int) -> str:
    """Return a message of its own length."""
    return " ".join(WORDS[(number + place) % len(WORDS)] for place in range(8 + number * 7 % 60))


@contextmanager
def trimtab(provider: OpenLoopback, **llm: Any) -> Iterator[tuple[str, PromptGateway]]:
    """Run the gateway of a project; yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = "\n".join(
            f'{kind} = tt.Prompt("{kind}", file="prompts/triage.md", endpoint=local, model="{model}")'
            for kind, model in MODELS.items()
        )
        models = list(MODELS.values())
        definitions = DEFINITIONS.format(
            url=provider.url, models=models, prompts=prompts, input=INPUT, output=OUTPUT, cached=CACHED
        )
        rules = {"requests": None, "tokens": None, "concurrent": 1000, **llm.pop("limits", {})}
        gateway = PromptGateway(Path(folder) / "desk", definitions=definitions, llm={"limits": rules, **llm})
        (gateway.folder / "prompts" / "triage.md").write_text(PROMPT)
        for kind in MODELS:
            _deploy(gateway, kind)
        try:
            yield f"{gateway.start()}/v1", gateway
        finally:
            gateway.stop()


def _deploy(gateway: PromptGateway, kind: str) -> None:
    """Bring the prompt of a kind into service."""
    workspace, spec = gateway.workspace, current_spec(gateway.workspace, kind)
    folder = workspace.artifacts.staging()
    write_prompt(folder, spec)
    write_spec(folder, plain_spec(spec))
    digest = write_manifest(folder)
    bundle = Bundle(
        id=f"{kind}/1",
        created_at=workspace.now(),
        model=kind,
        version=1,
        run="",
        dataset="",
        gate_report="",
        digest=digest,
        path=workspace.artifacts.publish(folder, f"bundles/{kind}/{digest[:16]}"),
        features=TURN_FEATURES,
        views=(),
        threshold=0.5,
        kind="prompt",
        prompt_hash=spec.prompt_hash,
    )
    workspace.metadata.put(bundle)
    open_rollouts(workspace, kind).deploy(bundle, cause="bench", reason="bench", by="bench")


@contextmanager
def litellm(provider: OpenLoopback, log: Path, *, budget: float | None = None) -> Iterator[str]:
    """Run litellm's proxy with one worker, whose callback notes the cost of each call; yield its URL."""
    folder = log.parent
    (folder / "noting.py").write_text(
        "import json\nfrom litellm.integrations.custom_logger import CustomLogger\n\n\n"
        "class Noting(CustomLogger):\n"
        "    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):\n"
        f"        with open({str(log)!r}, 'a') as file:\n"
        "            file.write(json.dumps([kwargs.get('response_cost'), kwargs.get('litellm_call_id')]) + '\\n')\n\n\n"
        "noting = Noting()\n"
    )
    prices = {
        "input_cost_per_token": INPUT / 1e6,
        "output_cost_per_token": OUTPUT / 1e6,
        "cache_read_input_token_cost": CACHED / 1e6,
    }
    limited = {"max_budget": budget, "budget_duration": "1d"} if budget is not None else {}
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": provider.url,
                "api_key": "none",
                **prices,
                **limited,
            },
        }
        for name, model in MODELS.items()
    ]
    config = folder / "config.yaml"
    config.write_text(
        json.dumps({"model_list": models, "litellm_settings": {"callbacks": "noting.noting", "num_retries": 2}})
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PEER / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": KEY,
        "PYTHONPATH": str(folder),
    }
    with (folder / "litellm.log").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--telemetry", "False"], stdout=output, stderr=output, env=environment, cwd=folder
        )
    try:
        _wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/health/liveliness").status_code == 200, process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _wait_until(done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            if done():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("the peer does not start")


async def _spend(url: str, model: str) -> tuple[int, int]:
    """Let CALLERS ask until they are refused for good; return how many calls were answered, and how many refused."""
    answered = refused = 0

    async def caller(client: httpx.AsyncClient, who: int) -> None:
        nonlocal answered, refused
        for number in range(10**6):
            body = {"model": model, "messages": [{"role": "user", "content": text(who + number)}], "max_tokens": 60}
            try:
                answer = await client.post(f"{url}/chat/completions", json=body)
            except httpx.HTTPError:  # the worker was killed
                await asyncio.sleep(0.5)
                continue
            if answer.status_code == 200:
                answered += 1
                continue
            refused += 1
            if answer.status_code == 429 and float(answer.headers.get("retry-after", "1e9")) <= 60:
                await asyncio.sleep(0.3)  # calls in flight hold the rest
                continue
            return

    limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
    async with httpx.AsyncClient(timeout=120, limits=limits, headers={"authorization": f"Bearer {KEY}"}) as client:
        await asyncio.gather(*(caller(client, who) for who in range(CALLERS)))
    return answered, refused


def _row(name: str, limit: float, billed: int, answered: int, more: str = "") -> None:
    over = max(0.0, billed / PICO / limit - 1)
    print(
        f"  {name:<10} limit {limit:.2f}   billed {billed / PICO:.4f} ({billed / PICO / limit:.1%})   "
        f"overshoot {over:.1%}   {answered:,} answers{more}",
        flush=True,
    )


def limit(*, alone: bool) -> bool:
    """200 callers at once at a limit."""
    print(f"A limit of money, {CALLERS} callers at once", flush=True)
    with running() as provider:
        with trimtab(provider, workers=WORKERS, budgets={"project": {"limit": f"{LIMIT}/month"}}) as (url, gateway):
            answered, _ = asyncio.run(_spend(url, "slow"))
            gateway.stop()
            booked = _project(gateway)
        billed = sum(map(price, provider.bill.calls))
        _row("trimtab", LIMIT, billed, answered, f", {WORKERS} workers, ledger - bill = {booked - billed:+,} of 1e-12")
        good = billed <= LIMIT * PICO and booked == billed
        provider.bill.clear()
        if alone:
            return good
        if not (PEER / "litellm").exists():
            print("  litellm    is not installed: sh scripts/bench_venvs.sh litellm")
            return good
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "costs"
            with litellm(provider, log, budget=LIMIT) as url:
                answered, _ = asyncio.run(_spend(url, "slow"))
            _row("litellm", LIMIT, sum(map(price, provider.bill.calls)), answered, ", 1 worker, budget of a deployment")
    return good


def killed(*, alone: bool) -> bool:
    """The same with workers that are killed while they answer."""
    print(f"The same, and two of {WORKERS} workers are killed", flush=True)
    with running() as provider:
        with trimtab(provider, workers=WORKERS, budgets={"project": {"limit": f"{KILLED_LIMIT}/month"}}) as (
            url,
            gateway,
        ):
            assert gateway.process is not None
            supervisor = psutil.Process(gateway.process.pid)

            async def spend_and_kill() -> tuple[int, int]:
                spending = asyncio.create_task(_spend(url, "slow"))
                for answers in (20, 80):
                    while provider.bill.totals.answered < answers:
                        await asyncio.sleep(0.02)
                    workers = [each for each in supervisor.children() if "chat_program" in " ".join(each.cmdline())]
                    workers[0].send_signal(signal.SIGKILL)
                return await spending

            answered, _ = asyncio.run(spend_and_kill())
            gateway.stop()
            open_ledger(gateway.workspace).close()
            store = spend_store(gateway.workspace)
            assumed = sum(max(amount for _, amount in turn.amounts) for turn in store.assumed())
            turns = len(store.assumed())
            store.close()
            booked = _project(gateway)
        billed = sum(map(price, provider.bill.calls))
        _row("trimtab", KILLED_LIMIT, billed, answered, f", {turns} turns assumed at {assumed / PICO:.4f}")
        print(f"             ledger {(booked - assumed) / PICO:.6f}, with assumed turns {booked / PICO:.6f}")
    return billed <= KILLED_LIMIT * PICO and booked <= KILLED_LIMIT * PICO and booked - assumed <= billed <= booked


def _project(gateway: PromptGateway) -> int:
    store = spend_store(gateway.workspace)
    found = sum(each.spent for each in store.accounts(scopes=("project",)))
    store.close()
    return found


async def _ask(url: str, model: str, turns: int, *, leave: bool) -> None:
    async with httpx.AsyncClient(timeout=60, headers={"authorization": f"Bearer {KEY}"}) as client:
        for number in range(turns):
            body: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "user", "content": text(number)}],
                "max_tokens": 60,
                "stream": True,
            }
            async with client.stream("POST", f"{url}/chat/completions", json=body) as answer:
                answer.raise_for_status()
                lines = answer.aiter_lines()
                events = 0
                async for line in lines:
                    events += line.startswith("data:")
                    if leave and events >= 4 + number % 6:
                        break


def truth(*, alone: bool) -> bool:
    """The cost of 1,000 turns."""
    turns = 1000 // len(KINDS)
    print(f"The cost of {turns * len(KINDS):,} streamed turns beside the provider's bill", flush=True)
    good = True
    with running() as provider:
        with trimtab(provider) as (url, gateway):
            bills = _ask_all(provider, url, turns, {kind: kind for kind in KINDS})
            gateway.stop()
            rows = {row["prediction_id"]: row for row in gateway.workspace.predictions.read_turns()[0].to_pylist()}
            booked = _project(gateway)
        print("  trimtab", flush=True)
        for kind, model in KINDS.items():
            own = sorted((row for row in rows.values() if row["upstream_model"] == model), key=lambda row: row["at"])
            good &= _compare(kind, bills[kind], [(row["cost_pico"], row["usage"]) for row in own])
        of_turns = sum(row["cost_pico"] for row in rows.values())
        print(f"    ledger {booked / PICO:.6f}, turns {of_turns / PICO:.6f}")
        if alone:
            return good
        if not (PEER / "litellm").exists():
            print("  litellm is not installed: sh scripts/bench_venvs.sh litellm")
            return good
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "costs"
            print("  litellm", flush=True)
            with litellm(provider, log) as url:
                for kind in KINDS:
                    before = len(_lines(log))
                    bills = _ask_all(provider, url, turns, {kind: kind})
                    time.sleep(2)
                    costs = [(round((line[0] or 0) * PICO), "") for line in _lines(log)[before:]]
                    _compare(kind, bills[kind], costs)
    return good


def _lines(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _ask_all(provider: OpenLoopback, url: str, turns: int, models: Mapping[str, str]) -> dict[str, list[int]]:
    """Ask turn by turn; return what the provider billed for each kind, call by call, without calls that were free."""
    found = {}
    for kind, model in models.items():
        provider.bill.clear()
        asyncio.run(_ask(url, model, turns, leave=kind == "cancelled"))
        time.sleep(0.5)
        found[kind] = [cost for call in provider.bill.calls if (cost := price(call))]
    return found


def _compare(kind: str, billed: Sequence[int], booked: Sequence[tuple[int, str]]) -> bool:
    """Print a row; return False where a reported turn is not exact, or others are off by more than 10 %."""
    paired = len(billed) == len(booked)
    exact = sum(a == b for a, (b, _) in zip(billed, booked, strict=False)) if paired else 0
    off = sum(cost for cost, _ in booked) / max(1, sum(billed)) - 1
    usage = ", ".join(sorted({usage for _, usage in booked if usage}))
    share = exact / max(1, len(billed))
    there = f"{len(booked):>4} of {len(billed)} in the books"
    print(f"    {kind:<10} {there}   exact {share:>6.1%}   sum {off:+.2%}   {usage}", flush=True)
    return (exact == len(billed)) if usage == "reported" else abs(off) <= 0.1


PARTS = {"limit": limit, "killed": killed, "truth": truth}


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm.budget")
    parser.add_argument("--only", choices=sorted(PARTS), help="one part")
    parser.add_argument("--alone", action="store_true", help="without litellm")
    given = parser.parse_args()
    good = [part(alone=given.alone) for name, part in PARTS.items() if given.only in (None, name)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
