"""`trimtab up`: the gateway as a child process, the steering loop in this one.

The gateway outlives a crash of this process: serving goes on, and the next `up` adopts it. A gateway that another
command started is used and watched, and goes on when this process ends.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from trimtab.app.alerts.heart import Heart
from trimtab.app.alerts.running import AlertsProcess
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.gateway.prompt_gateway import prompt_port, prompt_run_folder
from trimtab.app.ingestion.child import IngestionProcess
from trimtab.app.ingestion.streaming import IN_MEMORY
from trimtab.app.loop.event_lines import NewEvents
from trimtab.app.loop.model_figures import FiguresReader
from trimtab.app.loop.steering import Steering
from trimtab.app.project.console_process import ConsoleProcess
from trimtab.app.project.ledger_checks import ledger_line, note_policy
from trimtab.app.project.locks import only_loop
from trimtab.app.project.loopback_process import LoopbackProcess
from trimtab.app.project.process_files import Stop, is_running, send_signal, write_atomically
from trimtab.app.project.requirements import require_packages, require_trainer
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError, TrimtabError, UsageError
from trimtab.serving.processes.listening import Announcement
from trimtab.units import MICROS

log = logging.getLogger(__name__)

START_SECONDS = 30.0
STOP_SECONDS = 10.0
"""Beyond what the policy gives requests under way."""
POLL_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
"""Of the loop when a store fails; each pause is twice as long as the one before."""
MAX_RESTARTS = 5
LOG = "gateway.log"
STARTED = "gateway.started"
"""In the run folder: process id of the gateway that an `up` started, so that the next one knows it as its own."""


class GatewayProcess:
    """A gateway of a project as a process: started, adopted, watched, stopped. only: what it serves."""

    def __init__(
        self, workspace: Workspace, *, environment: str, port: int | None, only: Literal["models", "prompts"] = "models"
    ) -> None:
        self._workspace = workspace
        self._run_folder = workspace.run_folder if only == "models" else prompt_run_folder(workspace)
        policy = workspace.project.policy
        self.name = "gateway" if only == "models" else "prompts"
        self.base = "" if only == "models" else "/v1"
        """Path that clients of its API begin with."""
        self._what = "gateway" if only == "models" else "gateway of prompts"
        self._drain = policy.serving.drain if only == "models" else max(policy.serving.drain, policy.llm.timeouts.total)
        self._command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(workspace.project.folder)]
        self._command += ["--env", environment, "--only", only]
        self._port = port
        if port is not None:
            self._command += ["--port", str(port)]
        self._child: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    def start(self) -> tuple[Announcement, bool]:
        """Adopt the gateway that runs, or start one; return what it announces, and whether it was adopted.

        Raises StoreError with the gateway's own words when it does not come up, UsageError when one runs elsewhere.
        """
        if found := running_gateway(self._run_folder):
            if self._port not in (None, 0, found.port):
                raise UsageError(
                    f"--port {self._port}: the gateway of this project runs already, at {url_of(found)} (process "
                    f"{found.pid}). Leave --port out to use it, or end it first: kill {found.pid}"
                )
            return found, True
        log_path = self._run_folder / LOG
        with log_path.open("ab") as output:
            start = output.tell()
            self._child = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        write_atomically(self._run_folder / STARTED, str(self._child.pid).encode())
        waited = 0.0
        while waited < START_SECONDS:
            if found := running_gateway(self._run_folder):
                return found, False
            if self._child.poll() is not None:
                break
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        words = log_path.read_bytes()[start:].decode(errors="replace").strip().removeprefix("error: ")
        raise StoreError(f"the {self._what} did not start: {words[-2000:] or 'it said nothing; see ' + str(log_path)}")

    def watch(self) -> None:
        """Start the gateway again when it has died. Raises StoreError when it keeps dying."""
        if running_gateway(self._run_folder):
            return
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise StoreError(f"the {self._what} died {self._restarts} times; see {self._run_folder / LOG}")
        log.warning("the %s has died; starting it again (%d of %d)", self._what, self._restarts, MAX_RESTARTS)
        try:
            self.start()
        except StoreError as error:  # what it needs may come back; the next look tries again
            log.error("%s", error)

    def is_own(self, found: Announcement) -> bool:
        """Return True if this `up`, or one that has crashed, started the gateway."""
        try:
            return (self._run_folder / STARTED).read_text() == str(found.pid)
        except FileNotFoundError:
            return False

    def stop(self) -> Announcement | None:
        """Let the gateway finish what it has begun, and end it.

        Return a gateway that another command started: it goes on.
        """
        found = running_gateway(self._run_folder)
        if found is None:
            return None
        if not self.is_own(found):
            return found
        send_signal(found.pid, signal.SIGTERM)
        patience = self._drain / MICROS["s"] + STOP_SECONDS
        waited = 0.0
        while is_running(found.pid) and waited < patience:
            if self._child is not None:
                self._child.poll()
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        if is_running(found.pid):
            send_signal(found.pid, signal.SIGKILL)
        return None


def up(
    workspace: Workspace,
    *,
    environment: str,
    port: int | None,
    say: Callable[[str], None],
    stop: Stop | None = None,
    with_console: bool = True,
    with_gateway: bool = True,
) -> None:
    """Run gateway, monitor, controller and console until SIGINT or SIGTERM. Raises Locked when another process does.

    with_gateway: without, the gateway is another process's business, and may come and go.
    """
    stop = stop or Stop()
    stop.install()
    with only_loop(workspace, "trimtab up"):
        note_policy(workspace)
        say(ledger_line(workspace))
        console = ConsoleProcess(workspace, environment=environment) if with_console else None
        gateways = _gateways(workspace, environment=environment, port=port) if with_gateway else []
        _run(workspace, gateways, console, environment=environment, say=say, stop=stop)


def _gateways(workspace: Workspace, *, environment: str, port: int | None) -> list[GatewayProcess]:
    """Return the gateways of a project. port: of the models'; that of the prompts follows it."""
    definitions, policy = workspace.project.definitions, workspace.project.policy
    found = []
    if definitions.models or not definitions.prompts:
        found.append(GatewayProcess(workspace, environment=environment, port=port))
    if definitions.prompts:
        own = None if port is None else prompt_port(policy, with_models=bool(definitions.models), port=port)
        found.append(GatewayProcess(workspace, environment=environment, port=own, only="prompts"))
    return found


def _run(
    workspace: Workspace,
    gateways: Sequence[GatewayProcess],
    console: ConsoleProcess | None,
    *,
    environment: str,
    say: Callable[[str], None],
    stop: Stop,
) -> None:
    require_packages(workspace.project, workspace.environment)
    for model in workspace.project.definitions.models.values():
        require_trainer(workspace.project, model)
    own = True
    loopback = LoopbackProcess(workspace)
    if (provider := loopback.start()) is not None:
        say(f"loopback {provider.url}; it stands in for a language model, and is none")
    for gateway in gateways:
        found, adopted = gateway.start()
        own = own and gateway.is_own(found)
        say(f"{gateway.name:<9}{found.url}{gateway.base}{' (was running already)' if adopted else ''}")
    ingestion = IngestionProcess(workspace, environment=environment)
    alerts = AlertsProcess(workspace, environment=environment)
    heart = Heart(workspace.run_folder, workspace.clock, FiguresReader(workspace))
    steering = None
    try:
        _start_streams(ingestion, say)
        steering = _open(workspace)
        if console is not None:
            say(console.start())
        ends = "stops everything" if own else "stops them; the gateway was not started here, and goes on"
        say(f"steering: monitor and controller are on; Ctrl-C {ends}")
        events = NewEvents(workspace.metadata, workspace.clock)
        pause = FIRST_PAUSE_SECONDS
        while not stop():
            for gateway in gateways:
                gateway.watch()
            loopback.watch()
            ingestion.watch()
            if console is not None:
                console.watch()
            alerts.watch()
            try:
                if steering is None:
                    steering = _open(workspace)
                    say("steering: monitor and controller are on again")
                busy = steering.step()
                heart.beat()
                lines = list(events.lines(now=busy))
            except (StoreError, OSError) as error:  # a store may come back; what is in memory may be half done
                log.error("the loop pauses for %g s, serving goes on: %s", pause, error)
                heart.falter(str(error))
                if steering is not None:
                    _close(steering)
                steering = None
                _wait(workspace, gateways, stop, pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            pause = FIRST_PAUSE_SECONDS
            for line in lines:
                say(line)
            if not busy:
                workspace.clock.sleep(steering.poll_seconds)
    finally:
        if steering is not None:
            steering.close()
        if console is not None:
            console.stop()
        heart.stop()
        alerts.stop()
        ingestion.stop()
        left = [each for gateway in gateways if (each := gateway.stop())]
        still = "".join(f"; the gateway at {url_of(each)} goes on (process {each.pid})" for each in left)
        if not left:
            loopback.stop()
        with suppress(StoreError):
            say(ledger_line(workspace))
        say(f"stopped{still}; nothing is lost, `trimtab up` goes on where this ended")


def _start_streams(ingestion: IngestionProcess, say: Callable[[str], None]) -> None:
    """Start the process that reads streams. What keeps it from starting is said; serving goes on."""
    if not ingestion.streams:
        return
    try:
        broker = ingestion.start()
    except TrimtabError as error:
        log.error("streams do not flow: %s", error)
        return
    if broker is not None:
        say(f"broker   {broker.address}; {IN_MEMORY}")
    say(f"streams  {', '.join(ingestion.streams)}")


def _open(workspace: Workspace) -> Steering:
    """Open the loop as a new process does: it begins from the records and the log. Raises StoreError."""
    steering = Steering(workspace)
    try:
        steering.launch()
    except BaseException:
        _close(steering)
        raise
    return steering


def _close(steering: Steering) -> None:
    try:
        steering.close()
    except Exception as error:  # a border: what has failed may fail again while it ends
        log.warning("the loop did not end in order: %s", error)


def _wait(workspace: Workspace, gateways: Sequence[GatewayProcess], stop: Stop, seconds: float) -> None:
    """Wait, and watch the gateways meanwhile."""
    waited = 0.0
    while waited < seconds and not stop():
        for gateway in gateways:
            gateway.watch()
        workspace.clock.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
