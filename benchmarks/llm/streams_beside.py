"""`python -m benchmarks.llm.streams_beside`: the latency of predictions while streams of prompts run beside them.

    --rounds N     of each way, interleaved
    --seconds N    of each measurement
    --streams N    at 20 tokens a second each

quiet: a worker of models alone. one: the same worker answers the streams, too. two: a worker of prompts beside it.
A client asks for one prediction every 5 ms and waits for it. The loopback provider stands behind the prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

import msgspec
import psutil
import uvloop

from trimtab.bundle.prompt_spec import (
    PROMPT_FILE,
    TURN_FEATURES,
    EndpointSpec,
    MessageTemplate,
    PriceSpec,
    PromptSpec,
    TargetSpec,
    VariableSpec,
    write_prompt,
)
from trimtab.clock import SystemClock
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_rules import spend_rules
from trimtab.llm.redaction.project_key import project_key
from trimtab.llm.redaction.redactor import Redactor
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.policy.llm.section_llm import Llm
from trimtab.serving.chat.call_books import CallBooks
from trimtab.serving.chat.chat_routes import routes
from trimtab.serving.chat.chat_service import ChatService
from trimtab.serving.chat.loaded_prompt import LoadedPrompt, load_prompt
from trimtab.serving.chat.turn_log import TurnLog
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.loaded_bundle import load_bundle
from trimtab.serving.core.routing import ModelTable, RoutingTable, Variant
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.endpoints import Route
from trimtab.serving.orders import BundleOrder
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.web.server import ServerSetup, Shutdown, serve, settle_memory
from trimtab.stores.catalog import open_spend
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec

PAUSE_S = 0.005
TOKENS, PACE_MS = 200, 50
MODEL = f"echo+pace={PACE_MS}+tokens={TOKENS}"
LIMITS = {"requests": None, "tokens": None, "concurrent": 1000}
INFER = msgspec.json.encode({"inputs": [{"name": "row", "shape": [1], "datatype": "FP64", "data": [0.0]}]})
CHAT = msgspec.json.encode({"model": "triage", "stream": True, "messages": [], "variables": {"ticket": "a b c d"}})


def http(path: str, body: bytes) -> bytes:
    """Return a request in bytes."""
    return b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


# the server


async def run_server(what: str, url: str) -> None:
    """Serve models, prompts or both on a free port, which is printed."""
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), SystemClock()
        log = SegmentLog(folder / "log")
        gateway = Gateway(log, clock)
        tables: dict[str, ModelTable] = {}
        found: list[Route] = []
        if what in ("prompts", "both"):
            llm = Llm.model_validate({"limits": LIMITS})
            ledger = Ledger(open_spend(None, folder), folder, spend_rules(llm), clock)
            turns = TurnLog(gateway, log, Redactor(llm.redact.detect, (), project_key(folder)), llm.store)
            upstream, books = Upstream(llm.timeouts, llm.retry), CallBooks(ledger, clock)
            found += routes(ChatService(gateway, None, llm, upstream, books, turns))
            tables["triage"] = ModelTable("triage", 1, [Variant("champion", load_triage(folder, url), 100)])
        if what in ("models", "both"):
            digest = pack_bundle(folder / "delay", lookup_graph([0.1, 0.8]), plain_spec("delay", ["row"]))
            bundle = load_bundle(BundleOrder("delay/1", "delay", 1, str(folder / "delay"), digest), NumericColumns)
            tables["delay"] = ModelTable("delay", 1, [Variant("champion", bundle, 100)])
            found += [each for each in standard_routes(gateway) if not each.path.startswith("/v1/models")]
        gateway.swap(RoutingTable(tables, complete=True))
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        print(listener.getsockname()[1], flush=True)
        settle_memory()
        await serve(gateway, ServerSetup(http=listener, access=None, routes=found), Shutdown(), listening=int)


def load_triage(folder: Path, url: str) -> LoadedPrompt:
    """Return the prompt that is served."""
    price = PriceSpec(input=150_000, output=600_000)
    endpoint = EndpointSpec(name="loopback", url=url, prices={MODEL: (price,)}, concurrent=1000)
    prompt = PromptSpec(
        name="triage",
        messages=(MessageTemplate(role="user", text="{{ ticket }}"),),
        variables={"ticket": VariableSpec()},
        target=TargetSpec(endpoint=endpoint, model=MODEL),
    )
    write_prompt(folder, prompt)
    spec = plain_spec("triage", TURN_FEATURES, task="chat", runtime="chat", model_file=PROMPT_FILE, request_columns=())
    return load_prompt(BundleOrder("triage/1", "triage", 1, str(folder), "", spec))


# the clients


async def run_streams(port: int, streams: int) -> None:
    """Keep streams open until killed. Prints how many events came, once a second."""
    count = 0

    async def one(delay: float) -> None:
        nonlocal count
        await asyncio.sleep(delay)
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(http("/v1/chat/completions", CHAT))
            while (line := await reader.readline()) and b"[DONE]" not in line:
                count += line.startswith(b"data: ")
            writer.close()

    tasks = [asyncio.create_task(one(n / streams)) for n in range(streams)]
    while True:
        await asyncio.sleep(1)
        print(count, len(tasks), flush=True)


async def ask(port: int, seconds: float) -> list[float]:
    """Return the latencies of predictions in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found, request = [], http("/v2/models/delay/infer", INFER)
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 OK" not in head:
            raise SystemExit(f"no prediction: {head!r}")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        found.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(PAUSE_S)
    writer.close()
    return found


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a process, and yield it with its first line."""
    child = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield child, child.stdout.readline()
    finally:
        child.terminate()
        child.wait()


def measure(way: str, url: str, seconds: float, streams: int) -> tuple[float, float, float]:
    """Return p50 and p99 of predictions in milliseconds, and the servers' processor time a second."""
    me = "benchmarks.llm.streams_beside"
    with ExitStack() as stack:
        what = "both" if way == "one" else "models"
        models, port = stack.enter_context(process(me, "--serve", what, "--url", url))
        servers, streamed = [models], port
        if way == "two":
            prompts, streamed = stack.enter_context(process(me, "--serve", "prompts", "--url", url))
            servers.append(prompts)
        if way != "quiet":
            stack.enter_context(process(me, "--stream", streamed.strip(), "--streams", str(streams)))
            time.sleep(2)
        before = sum(sum(psutil.Process(each.pid).cpu_times()[:2]) for each in servers)
        found = asyncio.run(ask(int(port), seconds))
        used = sum(sum(psutil.Process(each.pid).cpu_times()[:2]) for each in servers) - before
    low, high = quantiles(found, n=100)[49], quantiles(found, n=100)[98]
    return low, high, used / seconds


def main() -> None:
    """Measure all ways, interleaved, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--serve", choices=("models", "prompts", "both"), help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve or given.stream:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            server = run_server(given.serve, given.url) if given.serve else run_streams(given.stream, given.streams)
            runner.run(server)
        return
    with process("trimtab.llm.loopback") as (_, line):
        url = msgspec.json.decode(line)["url"]
        found: dict[str, list[tuple[float, float, float]]] = {"quiet": [], "one": [], "two": []}
        for _ in range(given.rounds):
            for way, all_of in found.items():
                all_of.append(measure(way, url, given.seconds, given.streams))
    for way, all_of in found.items():
        low, high, used = (median(each) for each in zip(*all_of, strict=True))
        print(f"{way:<6} p50 {low:6.2f} ms  p99 {high:6.2f} ms  processor {used:5.2f} s/s")


if __name__ == "__main__":
    main()
