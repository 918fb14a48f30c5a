"""Bundles that answer nobody score in a process of their own, behind all others; what happens to it harms nobody."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer
from skops.io import dump

from kit.waiting import PATIENCE_S, wait_for
from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, write_spec
from trimtab.errors import DataError
from trimtab.runtimes import pipe_frames
from trimtab.runtimes.model_process import ProcessFailed
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.shadow_process import PROGRAM, ShadowScorer, open_shadow
from trimtab.runtimes.shadow_worker import Opening
from trimtab.testing.bundles import lookup_graph, pack_bundle, plain_spec

SCORES = (0.25, 0.5, 0.75)
SPEC = plain_spec("delay", ["row", "other"])
ROWS = np.array([[0, 9], [2, 9], [1, 9]], dtype=np.float32)
BEYOND = np.array([[7, 0]], dtype=np.float32)
"""A row that the lookup graph fails on."""


class Closed:
    """A scorer that tells whether it was closed."""

    def __init__(self, scorer: Scorer) -> None:
        self.task, self.in_process, self.closed = scorer.task, True, 0
        self._scorer = scorer

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self._scorer.score(X)

    def close(self) -> None:
        self.closed += 1


Apart = Callable[..., ShadowScorer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that looks its scores up."""
    pack_bundle(tmp_path / "bundle", lookup_graph(SCORES, 2), SPEC)
    return tmp_path / "bundle"


@pytest.fixture
def here(folder: Path) -> Closed:
    return Closed(open_scorer(folder, SPEC))


@pytest.fixture
def apart(folder: Path, here: Closed) -> Iterator[Apart]:
    """Return a function that moves the bundle out and waits until it is known what became of that."""
    opened: list[ShadowScorer] = []

    def move(digest: str = "", spec: Spec = SPEC) -> ShadowScorer:
        scorer = open_shadow(folder, spec, here, digest=digest)
        assert isinstance(scorer, ShadowScorer)
        opened.append(scorer)
        scorer.score(ROWS[:0])
        return scorer

    yield move
    for scorer in opened:
        scorer.close()


def process_of(scorer: ShadowScorer) -> psutil.Process:
    assert scorer.pid is not None
    return psutil.Process(scorer.pid)


def test_it_scores_as_it_did_here_and_is_here_no_more(apart: Apart, here: Closed) -> None:
    scorer = apart()
    assert here.closed == 1
    assert not scorer.in_process
    assert scorer.task == "binary"
    assert process_of(scorer).ppid() == os.getpid()
    np.testing.assert_allclose(scorer.score(ROWS), [0.25, 0.75, 0.5])
    large = np.tile(ROWS, (100_000, 1))
    np.testing.assert_allclose(scorer.score(large), np.tile([0.25, 0.75, 0.5], 100_000))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
def test_all_its_threads_give_way_to_whoever_else_wants_the_processor(apart: Apart) -> None:
    scorer = apart()
    threads = [thread.id for thread in process_of(scorer).threads()]
    assert len(threads) >= 2
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {19}
    # and one that was started again does, too
    process = process_of(scorer)
    process.kill()
    psutil.wait_procs([process], timeout=PATIENCE_S)
    scorer.score(ROWS)
    assert os.sched_getscheduler(process_of(scorer).pid) == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_what_the_model_refuses_is_told_and_the_process_lives_on(apart: Apart) -> None:
    scorer = apart()
    pid = scorer.pid
    with pytest.raises(DataError, match=r"bundle: .*InvalidArgument"):
        scorer.score(BEYOND)
    np.testing.assert_allclose(scorer.score(ROWS), [0.25, 0.75, 0.5])
    assert scorer.pid == pid


def test_one_that_crashes_loses_what_it_scores_and_comes_back(apart: Apart) -> None:
    scorer = apart()
    first = process_of(scorer)
    # given one that crashes while it scores
    first.suspend()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(scorer.score, ROWS)
        wait_for(scorer.process._lock.locked, "it scores")
        os.kill(first.pid, signal.SIGSEGV)
        first.resume()
        # then that call fails
        with pytest.raises(ProcessFailed, match="was ended by signal 11 while it scored; it is started again"):
            call.result(PATIENCE_S)
    # and the next one is answered by another process
    np.testing.assert_allclose(scorer.score(ROWS), [0.25, 0.75, 0.5])
    assert scorer.pid not in (None, first.pid)


def test_one_that_hangs_is_killed_and_keeps_nobody_waiting_twice(apart: Apart) -> None:
    scorer = apart()
    process = process_of(scorer)
    process.suspend()
    scorer.process._timeout_s = 0.2
    with pytest.raises(ProcessFailed, match=r"did not answer within 0\.2 s; its process was killed"):
        scorer.score(ROWS)
    psutil.wait_procs([process], timeout=PATIENCE_S)
    assert not process.is_running()
    scorer.process._handle.not_before += 1000
    with pytest.raises(ProcessFailed, match=r"fails to start \(it did not answer within 0\.2 s\); the next attempt"):
        scorer.score(ROWS)
    scorer.process._handle.not_before = 0.0
    scorer.process._timeout_s = PATIENCE_S
    np.testing.assert_allclose(scorer.score(ROWS), [0.25, 0.75, 0.5])


def test_the_process_checks_the_digest_and_what_it_refuses_scores_here(
    apart: Apart, here: Closed, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        scorer = apart("0" * 64)
    assert "a shadow scores in the gateway's own process" in caplog.text
    assert "is not the registered 000000000000" in caplog.text
    assert scorer.in_process
    assert here.closed == 0
    np.testing.assert_allclose(scorer.score(ROWS), [0.25, 0.75, 0.5])
    assert scorer.pid is None
    scorer.close()
    assert here.closed == 1


def test_without_processes_it_scores_here(
    folder: Path, here: Closed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    with caplog.at_level(logging.WARNING):
        scorer = open_shadow(folder, SPEC, here)
    assert scorer is here
    assert "the model's process cannot be started" in caplog.text


def test_trust_is_handed_on(tmp_path: Path) -> None:
    # given a skops file with a function that the policy trusts, in a bundle whose digest is known
    spec = msgspec.structs.replace(SPEC, runtime="skops", model_file="model.skops", task="regression")
    model = Ridge().fit(ROWS, [1.0, 2.0, 3.0])
    model.made_by = FunctionTransformer(os.path.basename)
    dump(model, tmp_path / "model.skops")
    write_spec(tmp_path, spec)
    digest = write_manifest(tmp_path)
    trust = ["posixpath.basename"]
    with pytest.raises(DataError, match="posixpath"):
        open_scorer(tmp_path, spec)
    here = Closed(open_scorer(tmp_path, spec, trust=trust))
    scorer = open_shadow(tmp_path, spec, here, digest=digest, trust=trust)
    np.testing.assert_allclose(scorer.score(ROWS), model.predict(ROWS))
    assert not scorer.in_process
    scorer.close()


def test_closing_ends_the_process_and_whoever_waits_for_it(apart: Apart) -> None:
    scorer = apart()
    process = process_of(scorer)
    process.suspend()
    failures: list[Exception] = []

    def score() -> None:
        try:
            scorer.score(ROWS)
        except ProcessFailed as error:
            failures.append(error)

    waiting = threading.Thread(target=score)
    waiting.start()
    wait_for(scorer.process._lock.locked, "it scores")
    scorer.close()
    waiting.join(PATIENCE_S)
    assert "the model was closed" in str(failures[0])
    assert not process.is_running()
    with pytest.raises(ProcessFailed, match="the model was closed"):
        scorer.score(ROWS)


def test_closing_one_that_has_not_come_up_yet_is_no_failure(
    folder: Path, here: Closed, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        scorer = open_shadow(folder, SPEC, here)
        scorer.close()
    assert caplog.text == ""
    assert here.closed == 1


def test_the_process_ends_with_its_pipe_and_not_by_a_signal_to_all(folder: Path) -> None:
    command = [sys.executable, "-P", "-m", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        opening = msgspec.json.encode(Opening(str(folder), "", SPEC, ()))
        pipe_frames.write(process.stdin.fileno(), pipe_frames.pack(pipe_frames.OPEN, opening))
        assert pipe_frames.read(process.stdout.fileno()) == (pipe_frames.HELLO, bytearray(b"binary"))
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        pipe_frames.write(process.stdin.fileno(), pipe_frames.pack_rows(ROWS))
        kind, content = pipe_frames.read(process.stdout.fileno())
        assert (kind, len(content)) == (pipe_frames.SCORES, 3 * 8)
        process.stdin.close()
        assert process.wait(timeout=PATIENCE_S) == 0


def test_the_program_imports_nothing_that_it_does_not_need() -> None:
    code = (
        f"import sys, {PROGRAM}\n"
        "print(*(n for n in ('onnxruntime', 'lightgbm', 'xgboost', 'sklearn', 'scipy', 'skops', 'mlflow', 'pandas', "
        "'polars', 'pyarrow', 'pydantic', 'sqlalchemy', 'asyncio', 'uvloop', 'yaml', 'trimtab.serving') "
        "if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
