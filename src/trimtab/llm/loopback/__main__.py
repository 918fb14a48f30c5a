"""`python -m trimtab.llm.loopback`: the loopback provider as a process. It prints its URL as JSON when it listens."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

import msgspec
import uvloop

from trimtab.llm.loopback.announcement import RunningLoopback
from trimtab.llm.loopback.loopback_server import LoopbackProvider


async def _serve(port: int, seed: int, announce: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    provider = LoopbackProvider(seed)
    server = await provider.listen(port)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    line = msgspec.json.encode(RunningLoopback(url=url, pid=os.getpid()))
    if announce is not None:
        draft = announce.with_name(f".{announce.name}.{os.getpid()}")
        draft.write_bytes(line)
        draft.replace(announce)
    print(line.decode(), flush=True)
    await stop.wait()
    server.close()
    for connection in list(provider.connections):
        connection.close()


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.llm.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--seed", type=int, default=0, help="decides answers, with model and messages")
    parser.add_argument("--announce", type=Path, help="file that the line is written to, too")
    given = parser.parse_args()
    try:
        uvloop.run(_serve(given.port, given.seed, given.announce))
    except OSError as error:
        parser.exit(3, f"--port {given.port}: {error.strerror}\n")


if __name__ == "__main__":
    main()
