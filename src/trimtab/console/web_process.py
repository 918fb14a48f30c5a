"""The process of the console: its address, its announcement, and how it ends."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable

import msgspec
import uvicorn

from trimtab.app.alerts.running import watch_loop
from trimtab.app.project.console_process import ANNOUNCEMENT, ConsoleAnnouncement
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.console.application import create_app
from trimtab.errors import StageError, UsageError
from trimtab.runtimes import memory_trim, priority
from trimtab.serving.processes.listening import is_loopback

BACKLOG = 128
STOP_SECONDS = 2
ARENAS = 2
"""Of memory, for all threads: pages are short, and one for each thread takes 10 MB more."""
NICE = 10
"""A tenth of a processor beside a training; one process draws all charts of a page, so that this is enough."""
TRIES = 20
"""Ports that are tried, one after the other."""


def serve(
    workspace: Workspace,
    *,
    environment: str,
    host: str | None,
    port: int | None,
    say: Callable[[str], None],
) -> None:
    """Serve the console until SIGINT or SIGTERM.

    Without `port` it takes the next free port where that of the policy is taken, as by the console of another project.
    Raises UsageError for an address that other machines reach without sign-in, StageError when it is taken.
    """
    console = workspace.project.policy.console
    chosen = port is not None
    host, port = host or console.host, console.port if port is None else port
    if not is_loopback(host) and console.authentication != "tokens":
        raise UsageError(
            f"host '{host}' can be reached from other machines, and any person there could change what serves. Set "
            "console.authentication to tokens in trimtab.yaml, and make a token with: trimtab token create NAME "
            "--role admin"
        )
    listener = _bind(host, port, tries=1 if chosen else TRIES)
    address, actual = listener.getsockname()[:2]
    announcement = ConsoleAnnouncement(host=address, port=actual, pid=os.getpid())
    path = workspace.run_folder / ANNOUNCEMENT
    priority.low(os.getpid(), NICE)  # the gateway beside it comes first, and the children inherit this
    memory_trim.limit_arenas(ARENAS)
    app = create_app(workspace, environment=environment)
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=STOP_SECONDS
    )
    write_atomically(path, msgspec.json.encode(announcement))
    say(f"console  {announcement.url}")
    ending = threading.Event()
    watcher = threading.Thread(target=watch_loop, args=(workspace, ending.is_set), daemon=True)
    watcher.start()  # a loop that stands still cannot tell it
    try:
        uvicorn.Server(settings).run(sockets=[listener])
    finally:
        ending.set()
        path.unlink(missing_ok=True)


def _bind(host: str, port: int, *, tries: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if tries > 1 and error.errno == errno.EADDRINUSE:
            return _bind(host, port + 1, tries=tries - 1)
        raise StageError(
            f"cannot listen on {host}:{port}: {error.strerror}. Stop what listens there, or choose another port "
            "(console.port in trimtab.yaml, or --port; 0 takes a free one)"
        ) from None
