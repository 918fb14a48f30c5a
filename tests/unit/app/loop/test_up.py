"""Whose gateway `trimtab up` ends: its own, or that of an `up` that has crashed; never one that was there before."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.loop import up as up_module
from trimtab.app.loop.steering import Steering
from trimtab.app.loop.up import MAX_RESTARTS, STARTED, GatewayProcess, up
from trimtab.app.project import process_files
from trimtab.app.project.locks import LOOP, Locked, holder, only_loop
from trimtab.app.project.process_files import Stop, is_running
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.errors import StoreError, UsageError
from trimtab.records.control import PolicyVersion
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.testing.judged import bundle_record


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(GatewayProject(tmp_path / "project").folder)


@pytest.fixture
def running(workspace: Workspace) -> Iterator[Announcement]:
    """Return what a gateway announced that somebody started by hand."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    found = Announcement("127.0.0.1", 18080, process.pid)
    (workspace.run_folder / ANNOUNCEMENT).write_bytes(msgspec.json.encode(found))
    yield found
    process.kill()
    process.wait()


def test_a_gateway_that_was_there_before_goes_on(workspace: Workspace, running: Announcement) -> None:
    gateway = GatewayProcess(workspace, environment="local", port=None)
    assert gateway.start() == (running, True)
    assert not gateway.is_own(running)
    assert gateway.stop() == running
    assert is_running(running.pid)


def test_a_gateway_that_a_crashed_up_has_left_is_ended(workspace: Workspace, running: Announcement) -> None:
    # given an `up` that noted which gateway it started, and was killed
    (workspace.run_folder / STARTED).write_text(str(running.pid))
    gateway = GatewayProcess(workspace, environment="local", port=0)
    assert gateway.start() == (running, True)
    assert gateway.stop() is None
    assert not is_running(running.pid)


def test_another_port_than_that_of_the_running_gateway_is_refused(workspace: Workspace, running: Announcement) -> None:
    with pytest.raises(UsageError, match=rf"--port 18091: .* at http://127.0.0.1:18080 \(process {running.pid}\)"):
        GatewayProcess(workspace, environment="local", port=18091).start()
    assert GatewayProcess(workspace, environment="local", port=18080).start() == (running, True)


class StopAfter(Stop):
    """Asks for the end after some steps; `between` is called before each."""

    def __init__(self, steps: int, between: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._steps, self._between = steps, between

    def install(self) -> None:
        """Leave the signals to the tests."""

    def __call__(self) -> bool:
        self._steps -= 1
        self._between()
        return self._steps < 0


def test_up_tells_what_happens_and_leaves_the_gateway_of_another(workspace: Workspace, running: Announcement) -> None:
    said, held = list[str](), list[bool]()
    bundle = bundle_record(1)

    def deploy() -> None:
        held.append(holder(workspace, LOOP) is not None)
        if len(held) == 2:
            rollouts = Rollouts(workspace.metadata, workspace.project.policy.rollout, "delay", workspace.clock)
            workspace.metadata.put(bundle)
            rollouts.deploy(bundle, cause="1", reason="a test", by="tests")
        workspace.clock.sleep(1.0)

    up(workspace, environment="local", port=None, say=said.append, stop=StopAfter(3, deploy), with_console=False)
    assert said[1] == "gateway  http://127.0.0.1:18080 (was running already)"
    assert said[2].endswith("the gateway was not started here, and goes on")
    (event,) = [line for line in said if "revision 1: champion 1 (100 %)" in line]
    assert said.index(event) < len(said) - 2
    assert said[-1].startswith(f"stopped; the gateway at http://127.0.0.1:18080 goes on (process {running.pid})")
    assert is_running(running.pid)
    assert all(held)
    assert holder(workspace, LOOP) is None
    assert workspace.metadata.count(PolicyVersion) == 1


@pytest.mark.parametrize("error", [StoreError("the store is away"), OSError(28, "No space left on device")])
def test_a_store_that_is_away_pauses_the_loop_and_ends_nothing(
    workspace: Workspace,
    running: Announcement,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    # given a loop whose second step fails, and whose next opening fails as well
    steps, opened, pauses, said = list[int](), list[int](), list[float](), list[str]()
    step, launch = Steering.step, Steering.launch

    def failing_step(steering: Steering) -> bool:
        steps.append(id(steering))
        if len(steps) == 2:
            raise error
        return step(steering)

    def failing_launch(steering: Steering) -> None:
        opened.append(id(steering))
        if len(opened) == 2:
            raise error
        launch(steering)

    monkeypatch.setattr(Steering, "step", failing_step)
    monkeypatch.setattr(Steering, "launch", failing_launch)
    monkeypatch.setattr(up_module, "_wait", lambda workspace, gateway, stop, seconds: pauses.append(seconds))
    up(workspace, environment="local", port=None, say=said.append, stop=StopAfter(6), with_console=False)
    # then it pauses, longer the second time, and goes on with a loop that begins from the records
    assert (pauses, len(opened), len(steps)) == ([1.0, 2.0], 3, 5)
    assert "serving goes on" in caplog.text
    assert "steering: monitor and controller are on again" in said
    assert said[-1].startswith("stopped; the gateway at")
    assert is_running(running.pid)


def test_without_the_gateway_the_loop_runs_alone(workspace: Workspace) -> None:
    said = list[str]()
    up(
        workspace,
        environment="local",
        port=None,
        say=said.append,
        stop=StopAfter(2),
        with_console=False,
        with_gateway=False,
    )
    assert said[1] == "steering: monitor and controller are on; Ctrl-C stops everything"
    assert said[-1].startswith("stopped; nothing is lost")
    assert not (workspace.run_folder / STARTED).exists()


def test_a_second_up_is_refused_before_it_does_anything(workspace: Workspace) -> None:
    said = list[str]()
    with only_loop(workspace, "trimtab up"), pytest.raises(Locked, match="A project has one loop"):
        up(workspace, environment="local", port=None, say=said.append, stop=StopAfter(0), with_console=False)
    assert said == []


def test_a_gateway_that_does_not_start_is_told_in_its_own_words(workspace: Workspace) -> None:
    gateway = GatewayProcess(workspace, environment="local", port=None)
    for words in ("no such certificate", "error: no such certificate"):
        gateway._command = [sys.executable, "-c", f"raise SystemExit('{words}')"]
        with pytest.raises(StoreError, match="the gateway did not start: no such certificate"):
            gateway.start()


def test_a_gateway_that_keeps_dying_is_given_up(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    gateway = GatewayProcess(workspace, environment="local", port=None)
    gateway._command = [sys.executable, "-c", "raise SystemExit('no memory')"]
    for _ in range(MAX_RESTARTS):
        gateway.watch()
    assert caplog.text.count("the gateway has died; starting it again") == MAX_RESTARTS
    with pytest.raises(StoreError, match=f"the gateway died {MAX_RESTARTS + 1} times"):
        gateway.watch()


def test_a_signal_asks_for_the_end_and_a_second_one_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[int]()
    monkeypatch.setattr(process_files, "exit_now", ended.append)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = Stop()
        stop.install()
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert (stop(), ended) == (True, [])
        signal.raise_signal(signal.SIGINT)
        assert ended == [130]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
