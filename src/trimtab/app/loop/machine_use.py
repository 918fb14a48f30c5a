"""What the processes of a project use: memory, processor time, descriptors, disk. One signal a window and process.

Windows are stretches of wall time, of `decide.window` but at least an hour. The records of this monitor do not follow
from the logs: it measures every ten seconds. A process that ends loses what it measured in the window that had begun.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project import process_files
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.errors import Conflict
from trimtab.monitoring.event_windows import Span
from trimtab.monitoring.series import Series
from trimtab.monitoring.window_records import VersionWindow
from trimtab.records.monitoring import Signal
from trimtab.units import MICROS

log = logging.getLogger(__name__)

EVERY = 10 * MICROS["s"]
SHORTEST_WINDOW = MICROS["h"]
NO_MODEL = ""
"""Model of the signals: they are about all models."""
DISK = "disk"
MEMORY_SD, DISK_SD = 5.0, 0.01
"""Spread between windows below which differences are noise: megabytes, and a share of the disk."""
MEGABYTE = 1_000_000


@dataclass
class Use:
    """What was measured of one process, or of the disk, in a window."""

    samples: int = 0
    cpu_share: float = 0.0
    """Sum over the samples; 1 is one core."""
    memory_mb: float = 0.0
    """The largest resident memory."""
    descriptors: int = 0
    """The most open ones."""
    disk_used: float = 0.0
    """The largest used share."""
    disk_free_mb: float = field(default=float("inf"))


class MachineUse:
    """Measures the loop, the gateway, each of its workers, and the disk of the embedded stores."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._window = max(SHORTEST_WINDOW, workspace.project.policy.decide.window)
        self._next = 0
        self._start: int | None = None
        self._uses: dict[str, Use] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._series: dict[str, Series] = {}

    def step(self) -> list[Signal]:
        """Measure if it is time to; return the signals of a window that has ended."""
        now = to_micros(self._workspace.now())
        if now < self._next:
            return []
        self._next = now + EVERY
        start = now // self._window * self._window
        written = self._write(self._start) if self._start is not None and start > self._start else []
        self._start = start
        self._measure()
        return written

    def _measure(self) -> None:
        alive = dict(self._named())
        self._processes = {process.pid: process for process in alive.values()}
        for name, process in alive.items():
            with contextlib.suppress(psutil.Error):  # the process has just ended
                with process.oneshot():
                    cpu, memory, descriptors = process.cpu_percent(), process.memory_info().rss, process.num_fds()
                use = self._uses.setdefault(name, Use())
                use.samples += 1
                use.cpu_share += cpu / 100
                use.memory_mb = max(use.memory_mb, memory / MEGABYTE)
                use.descriptors = max(use.descriptors, descriptors)
        disk = shutil.disk_usage(self._workspace.root)
        use = self._uses.setdefault(DISK, Use())
        use.samples += 1
        use.disk_used = max(use.disk_used, disk.used / max(disk.total, 1))
        use.disk_free_mb = min(use.disk_free_mb, disk.free / MEGABYTE)

    def _named(self) -> Iterator[tuple[str, psutil.Process]]:
        """Yield the processes by name: loop, gateway, worker-0, ... in the order in which the workers were started."""
        with contextlib.suppress(psutil.Error):
            yield "loop", self._process(process_files.own_pid())
            gateway = running_gateway(self._workspace.run_folder)
            if gateway is None:
                return
            supervisor = self._process(gateway.pid)
            yield "gateway", supervisor
            children = sorted(supervisor.children(recursive=True), key=lambda each: (each.create_time(), each.pid))
            for n, child in enumerate(children):
                yield f"worker-{n}", self._process(child.pid)

    def _process(self, pid: int) -> psutil.Process:
        """Return the same object as before for a process, since its processor time is counted between two calls."""
        known = self._processes.get(pid)
        return known if known is not None and known.is_running() else psutil.Process(pid)

    def _write(self, start: int) -> list[Signal]:
        """Write the signals of a window; what another process has written of it stays."""
        uses, self._uses = self._uses, {}
        signals = [self._signal(name, use, start) for name, use in sorted(uses.items())]
        try:
            self._workspace.metadata.put(*signals)
        except Conflict as error:
            log.info("%s", error)
            self._series.clear()  # read again from the records
            return []
        return signals

    def _signal(self, name: str, use: Use, start: int) -> Signal:
        is_disk = name == DISK
        step = self._of(name).step(start, use.disk_used if is_disk else use.memory_mb)
        window = VersionWindow(
            model=NO_MODEL, version=0, span=Span(start, start + self._window, 1), now=self._workspace.now()
        )
        if is_disk:
            effect: dict[str, float | None] = {"free_mb": use.disk_free_mb}
            reason = f"{use.disk_free_mb:,.0f} MB free; used share {step.reason}"
        else:
            cpu = use.cpu_share / use.samples
            effect = {"cpu_share": cpu, "descriptors": float(use.descriptors)}
            reason = f"{cpu:.1%} of a core, {use.descriptors} descriptors, memory in MB {step.reason}"
        return window.signal(
            "infrastructure",
            subject=name,
            statistic="largest used share of the disk" if is_disk else "largest resident memory, MB",
            value=step.value,
            p=step.p,
            p_seq=step.p_seq,
            effect={**step.effect, **effect},
            rows=use.samples,
            reference_windows=step.m,
            reason=reason,
        )

    def _of(self, name: str) -> Series:
        """Return the series of a process, at first stepped through its stored signals."""
        if name not in self._series:
            made = Series(
                name,
                direction="rise",
                window=self._window,
                horizon=self._workspace.project.policy.decide.horizon,
                smallest_sd=DISK_SD if name == DISK else MEMORY_SD,
            )
            stored = self._workspace.metadata.find(Signal, model=NO_MODEL, kind="infrastructure")
            for signal in sorted((s for s in stored if s.subject == name), key=lambda s: s.start):
                made.step(to_micros(signal.start), signal.value)
            self._series[name] = made
        return self._series[name]
