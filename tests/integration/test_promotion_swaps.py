"""Promotions between environments with real processes: under load, killed at each step, with another database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from kit.environments import ANN, Pair
from kit.postgres import a_postgres
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.delivery.promotion import promote
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports.served_at import served_at
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.manifest import verify
from trimtab.errors import ActionError
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle

CONNECTIONS = 4
REQUEST = {
    "inputs": [
        {"name": "row", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "shop", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    ]
}


class Answer(NamedTuple):
    """One answered request."""

    status: int
    version: str
    at: datetime


class Load:
    """Requests over several connections, until it is stopped."""

    def __init__(self, url: str) -> None:
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(url,)) for _ in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def _send(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
            while not self._stop.is_set():
                answer = client.post("/v2/models/delay/infer", json=REQUEST)
                version = answer.json().get("model_version", "") if answer.status_code == 200 else answer.text
                self.answers.append(Answer(answer.status_code, version, datetime.now(UTC)))

    def wait_for_version(self, version: str) -> Answer:
        """Return the first answer by a version from now on."""
        begin = len(self.answers)
        wait_for(lambda: any(each.version == version for each in self.answers[begin:]), f"version {version} answers")
        return next(each for each in self.answers[begin:] if each.version == version)

    def stop(self) -> None:
        """End the connections after their last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_promotion_and_its_way_back_fail_no_request_and_history_says_what_served(tmp_path: Path) -> None:
    environments = {"staging": {}, "production": {}, "everywhere": {"smoke": True}}
    pair = Pair(tmp_path / "project", environments=environments)
    everywhere = open_workspace(pair.folder, "everywhere")
    pair.serve(1)
    pair.promote()
    one, two = "delay/1", "delay/2"
    with pytest.raises(ActionError, match="none runs here: start it with trimtab serve --env production"):
        promote(pair.production, everywhere, ANN, pair.production.metadata.get(Bundle, one), reason="a test")
    command = [sys.executable, "-m", "trimtab.cli", "serve", "--project", str(pair.folder), "--env", "production"]
    with (pair.folder / "gateway.log").open("wb") as log:
        gateway = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        announced = wait_for(lambda: running_gateway(pair.production.run_folder), "the gateway announces itself")
        assert running_gateway(pair.staging.run_folder) is None
        load = Load(url_of(announced))
        load.wait_for_version("1")
        pair.serve(2, (0.2, 0.9))
        pair.promote()
        load.wait_for_version("2")
        open_rollouts(pair.production, "delay").rollback(cause="test", reason="a test", by="tests")
        load.wait_for_version("1")
        load.stop()
        with pytest.raises(ActionError, match="answers with delay/2, which it does not"):
            promote(pair.production, everywhere, ANN, pair.production.metadata.get(Bundle, two), reason="a test")
        done = promote(pair.production, everywhere, ANN, pair.production.metadata.get(Bundle, one), reason="a test")
        assert done.bundle_in("champion") == one
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(PATIENCE_S)

    counts = Counter((each.status, each.version) for each in load.answers)
    assert set(counts) == {(200, "1"), (200, "2")}, counts
    history = open_rollouts(pair.production, "delay").history()[::-1]
    assert [each.action for each in history] == ["deploy", "deploy", "rollback"]
    expect_history_holds(pair, history)


def expect_history_holds(pair: Pair, history: Sequence[Revision]) -> None:
    """No row of the log is older than its revision; from a revision's first row to the next one, it is the one that
    history names."""
    rows = pair.production.predictions.read()[0].select(["revision", "version", "logged_at"]).to_pylist()
    firsts = {number: min(r["logged_at"] for r in rows if r["revision"] == number) for number in (1, 2, 3)}
    ends = {each.number: following.created_at for each, following in pairwise(history)}
    checked = 0
    for row in rows:
        revision = history[row["revision"] - 1]
        assert row["logged_at"] >= revision.created_at
        assert row["version"] == revision.assignments[0].version
        if firsts[revision.number] <= row["logged_at"] < ends.get(revision.number, datetime.max.replace(tzinfo=UTC)):
            found = served_at(pair.production, "delay", row["logged_at"])
            digest = pair.production.metadata.get(Bundle, f"delay/{row['version']}").digest
            assert (found.revision, found.serves[0].digest) == (revision, digest)
            checked += 1
    assert checked > 0


def test_a_promotion_that_is_killed_at_any_step_leaves_nothing_or_the_whole(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "project")
    digest = pair.serve(1).digest
    steps = ("copyfile", "publish", "register", "records", "revision")
    asked = [f"{step}.{moment}" for step in steps for moment in ("before", "after")]

    command = [sys.executable, "-m", "integration.promotion_driver", str(pair.folder), *asked, "."]
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False, env=os.environ)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    died = {line.split()[0]: int(line.split()[1]) for line in lines[::2]}
    # after a step is done, the next process finds it done: a revision that was written is not written again
    assert died == {**dict.fromkeys(asked, -signal.SIGKILL), ".": 0}
    left = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines[1::2]}
    nothing, files, bundle = "0 [] 0", "1 [] 0", f"1 ['{digest}'] 0"
    assert left == {
        **dict.fromkeys(asked[:3], nothing),
        **dict.fromkeys(asked[3:7], files),
        **dict.fromkeys(asked[7:9], bundle),
        **dict.fromkeys((asked[9], "."), f"1 ['{digest}'] 1"),
    }
    found = pair.production.metadata.get(Bundle, "delay/1")
    assert verify(pair.production.artifacts.open(found.path)) == digest
    assert pair.production.metadata.verify().breaks == ()


def test_production_may_have_another_database(tmp_path: Path) -> None:
    with a_postgres() as server:
        environments = {"staging": {}, "production": {"metadata": server.url}}
        pair = Pair(tmp_path / "project", environments=environments)
        pair.ingest()
        first = pair.serve(1, views=True)
        pair.promote()
        pair.serve(2, (0.2, 0.9), views=True)
        pair.promote()
        back = open_rollouts(pair.production, "delay").rollback(cause="test", reason="a test", by="tests")

        assert back.bundle_in("champion") == "delay/1"
        assert pair.production.metadata.get(Bundle, "delay/1").digest == first.digest
        assert server.do("select count(*) from trimtab_revision") == [(3,)]
        assert pair.production.metadata.verify().breaks == ()
        pair.production.metadata.close()
