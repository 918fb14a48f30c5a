"""The guard of a running gateway: what a version does wrong is seen within seconds, undone, and written down."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from integration.gateway_project import GatewayProject, Make, infer, newest
from kit.waiting import PATIENCE_S, wait_for
from trimtab.control.ledger import verify_chain
from trimtab.records.control import Decision
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.serving.orders import COUNTS
from trimtab.serving.telemetry.counts_folder import read_all

NAN = float("nan")
LOW, HIGH = (0.1, 0.15, 0.2), (0.8, 0.85, 0.9)
FEW = 20
ENOUGH = 300
"""Rows of each version from which it is certain that the scores of two versions without a score in common have jumped:
sixty of one are too few, however many there are of the other."""


class Traffic:
    """A client that goes on asking, and keeps what it was answered."""

    def __init__(self, client: httpx.Client, *rows: float) -> None:
        self._client = client
        self._rows = rows or (0, 1, 2)
        self.statuses: set[int] = set()
        self.versions: list[str] = []

    def ask(self) -> dict[str, Any]:
        """Ask once."""
        reply = infer(self._client, *self._rows)
        self.statuses.add(reply.status_code)
        found: dict[str, Any] = reply.json()
        self.versions.append(found["model_version"])
        return found

    def until(self, project: GatewayProject, action: str) -> None:
        """Ask until a revision of an action is written, then until it serves."""

        def written() -> bool:
            self.ask()
            return newest(project).action == action

        wait_for(written, f"the guard writes: {action}")
        number = newest(project).number
        wait_for(lambda: self.ask()["parameters"]["revision"] == number, f"{action} serves")


def until_counted(project: GatewayProject, traffic: Traffic, version: int, rows: int = 3 * FEW) -> None:
    """Ask until so many more rows are counted that a version answered."""

    def counted() -> int:
        traffic.ask()
        variants = read_all(project.workspace.run_folder / COUNTS).variants
        return sum(variant.rows for key, variant in variants.items() if key.version == version and key.served)

    first = wait_for(counted, "the first answers are counted")
    wait_for(lambda: counted() >= first + rows, "enough answers are counted")


def judged(project: GatewayProject, **where: Any) -> tuple[Decision, Signal, WindowReport]:
    """Return the only decision (where: on a version) with its evidence, which the ledger holds unchanged."""
    metadata = project.workspace.metadata
    decisions = metadata.find(Decision, model="delay", oldest_first=True)
    verify_chain(decisions)
    (decision,) = [each for each in decisions if where.get("version", each.version) == each.version]
    (signal,) = metadata.find(Signal, model="delay", **where)
    assert decision.signals == (signal.id,)
    return decision, signal, metadata.get(WindowReport, decision.window)


def test_the_guard_rolls_a_broken_champion_back_and_says_why(make: Make) -> None:
    # given a good champion, then one that gives no numbers
    project = make(rollout={"strategy": "blue-green", "rollback_when": {"error_rate": "5%", "min_requests": 20}})
    project.deploy(1)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        assert infer(client, 1).json()["model_version"] == "1"
        project.deploy(2, scores=(NAN, NAN))
        # when traffic goes on
        seen = []

        def rolled_back() -> bool:
            seen.append(infer(client, 1))
            return newest(project).action == "rollback"

        wait_for(rolled_back, "the guard rolls back")
        wait_for(lambda: infer(client, 1).json()["parameters"]["revision"] == 3, "the rollback serves")
    # then nobody noticed, since the champion before answered, and the ledger says why
    assert {reply.status_code for reply in seen} == {200}
    assert newest(project).bundle_in("champion") == "delay/1"
    (decision,) = project.workspace.metadata.find(Decision, model="delay")
    verify_chain([decision])
    assert (decision.action, decision.version, decision.band) == ("rollback", 2, "guard")
    assert "predictions failed; the limit is 5.00%" in decision.reasons[0]
    (signal_,) = project.workspace.metadata.find(Signal, model="delay")
    assert signal_.p is not None
    assert signal_.p < 1e-6
    assert {(row["version"], row["role"], row["served"]) for row in project.rows() if row["route"] == "fallback"} == {
        (1, "fallback", True)
    }


def test_the_guard_takes_a_broken_challenger_out(make: Make) -> None:
    project = make(rollout={"rollback_when": {"error_rate": "5%", "min_requests": 20}})
    project.deploy(1)
    project.deploy(2, scores=(NAN, NAN))
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:

        def abandoned() -> bool:
            infer(client, 1, who="somebody")
            return newest(project).action == "abandon"

        wait_for(abandoned, "the guard abandons the challenger")
    assert [each.role for each in newest(project).assignments] == ["champion"]


def test_the_guard_rolls_back_a_champion_whose_scores_jump(make: Make) -> None:
    limits = {"output_jump": "50%", "min_requests": FEW}
    project = make(rollout={"strategy": "blue-green", "rollback_when": limits})
    project.deploy(1, scores=LOW)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        traffic = Traffic(client, *[0, 1, 2] * (ENOUGH // 3))
        until_counted(project, traffic, 1, ENOUGH)
        # when a version comes that answers the same questions quite otherwise
        project.deploy(2, scores=HIGH)
        traffic.until(project, "rollback")
        # then the one before is restored, and its own scores are no jump
        until_counted(project, traffic, 1, ENOUGH)
        until_counted(project, traffic, 1, ENOUGH)
    assert traffic.statuses == {200}
    assert newest(project).bundle_in("champion") == "delay/1"
    decision, signal, window = judged(project)
    assert (decision.action, decision.version) == ("rollback", 2)
    assert "of the predictions lie elsewhere than those of the champion before" in decision.reasons[0]
    assert (signal.kind, signal.statistic, signal.effect) == ("prediction", "output_jump", {"limit": 0.5})
    assert window.metrics["output_jump"] == signal.value > 0.5
    assert window.rows >= FEW


def test_the_guard_rolls_back_a_champion_that_gives_one_answer(make: Make) -> None:
    limits = {"constant_output": 12, "min_requests": FEW}
    project = make(rollout={"strategy": "blue-green", "rollback_when": limits}, serving={"workers": 2})
    project.deploy(1, scores=(0.1, 0.8) * 8)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        # given a client that repeats a row: one score, which is no fault of the model's
        repeated = Traffic(client, 3)
        until_counted(project, repeated, 1)
        assert not project.workspace.metadata.find(Decision, model="delay")
        # when a version comes that gives all sorts of rows one score
        project.deploy(2, scores=(0.5,) * 16)
        traffic = Traffic(client, *range(16))
        traffic.until(project, "rollback")
    assert repeated.statuses | traffic.statuses == {200}
    assert newest(project).bundle_in("champion") == "delay/1"
    decision, signal, window = judged(project)
    assert (decision.action, decision.version) == ("rollback", 2)
    assert "of 16 different inputs, are all 0.5" in decision.reasons[0]
    assert (signal.kind, signal.statistic, signal.value, signal.effect) == (
        "quality",
        "constant_output",
        16.0,
        {"limit": 12.0},
    )
    assert window.metrics == {"constant_output": 16.0}


@pytest.mark.parametrize("fallback", [{}, {"slower_than": "20ms"}], ids=["waited for", "with a fallback"])
def test_the_guard_rolls_back_a_slow_champion(make: Make, fallback: dict[str, str]) -> None:
    limits = {"p99": "50ms", "min_requests": 8, "over": "10m"}
    project = make(rollout={"strategy": "blue-green", "fallback": fallback, "rollback_when": limits})
    project.deploy(1)
    with httpx.Client(base_url=project.start(), timeout=PATIENCE_S) as client:
        traffic = Traffic(client, 1)
        traffic.ask()
        # when a version comes that takes 200 ms, whether its clients wait or the champion before answers them
        project.deploy(2, slow=True)
        traffic.until(project, "rollback")
    assert traffic.statuses == {200}
    assert ("2" in traffic.versions) == (not fallback)
    assert newest(project).bundle_in("champion") == "delay/1"
    decision, signal, window = judged(project, version=2)  # where the machine is busy, version 1 is slow as well
    assert (decision.action, decision.version) == ("rollback", 2)
    assert "requests took longer than 50 ms; at most one in a hundred may" in decision.reasons[0]
    assert (signal.kind, signal.statistic, signal.effect) == ("latency", "p99_ms", {"limit": 50.0})
    assert signal.p is not None
    assert signal.p < 1e-6
    assert window.metrics["p99_ms"] > 50
