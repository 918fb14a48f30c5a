"""MLflow models in a process of their own: they score, fail, hang and die without harm to whoever asks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from kit.waiting import PATIENCE_S
from trimtab.bundle.scorer import Options
from trimtab.errors import DataError
from trimtab.runtimes import pipe_frames, pyfunc
from trimtab.runtimes.model_process import ProcessFailed
from trimtab.runtimes.pyfunc import PyfuncScorer

TESTS = Path(__file__).parents[2]
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(scope="module")
def shared(mlflow_model: Callable[[str], Path]) -> Iterator[PyfuncScorer]:
    """One process for all tests of this file that leave it alive, or let it come back."""
    scorer = PyfuncScorer(mlflow_model("pyfunc"), "regression", timeout_s=PATIENCE_S)
    yield scorer
    scorer.close()


def order(value: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Rows that tell the model what to do."""
    return np.array([[value, 0, 0]], dtype=np.float32)


def test_it_scores_rows(shared: PyfuncScorer) -> None:
    np.testing.assert_array_equal(shared.score(ROWS), ROWS[:, 0] + 2 * ROWS[:, 1])
    assert shared.score(ROWS[:0]).shape == (0,)
    large = np.tile(ROWS, (50_000, 1))
    np.testing.assert_array_equal(shared.score(large), large[:, 0] + 2 * large[:, 1])


def test_its_errors_are_told_and_it_lives_on(shared: PyfuncScorer) -> None:
    pid = shared.pid
    with pytest.raises(DataError, match="ValueError: no such thing"):
        shared.score(order(888))
    with pytest.raises(DataError, match=r"the model returned shape \(1, 2\) for 1 rows; expected one number a row"):
        shared.score(order(999))
    with pytest.raises(DataError, match="rows have 2 columns; the signature has 3"):
        shared.score(ROWS[:, :2])
    assert shared.score(ROWS).shape == (4,)
    assert shared.pid == pid


def test_several_threads_get_their_own_scores(shared: PyfuncScorer) -> None:
    def ask(n: int) -> bool:
        rows = np.full((n % 7 + 1, 3), n, dtype=np.float32)
        return bool((shared.score(rows) == 3 * n).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(60)))


def test_the_process_ends_with_its_pipe_even_while_the_model_works(mlflow_model: Callable[[str], Path]) -> None:
    # given a process that whoever started it has told to hang
    command = [sys.executable, "-P", "-m", "trimtab.runtimes.pyfunc_worker", str(mlflow_model("pyfunc"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert pipe_frames.read(process.stdout.fileno()) == (pipe_frames.HELLO, bytearray())
        pipe_frames.write(process.stdin.fileno(), pipe_frames.pack_rows(order(777)))

        # then it ends when that one goes away
        process.stdin.close()
        assert process.wait(timeout=PATIENCE_S) == 0


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(
        "flavors: {python_function: {loader_module: no_such_module, env: {}}}\n"
        'signature: {inputs: \'[{"type": "double", "name": "a"}]\'}\n'
    )
    with pytest.raises(
        DataError, match="the model cannot be loaded: ModuleNotFoundError: No module named 'no_such_mod"
    ):
        PyfuncScorer(tmp_path, None)


@pytest.fixture
def steered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model whose process loads no MLflow: what holds for its life holds for that of any model."""
    monkeypatch.setattr(pyfunc, "PROGRAM", "unit.runtimes.steered")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "task").write_text("binary")
    return folder


def test_one_that_dies_or_hangs_is_started_again(steered: Path) -> None:
    scorer = PyfuncScorer(steered, None, timeout_s=PATIENCE_S)
    # when it dies while it scores, that score fails
    scorer.score(ROWS)
    first = scorer.pid
    with pytest.raises(ProcessFailed, match="ended with code 3 while it scored; it is started again"):
        scorer.score(order(666))

    # and when the next one is killed before it was asked, nobody notices
    second = scorer.pid
    assert second is not None
    process = psutil.Process(second)
    os.kill(second, signal.SIGKILL)
    psutil.wait_procs([process], timeout=PATIENCE_S)
    assert scorer.score(ROWS).shape == (4,)
    assert len({first, second, scorer.pid}) == 3

    # and when that one does not answer, it is killed
    third, scorer.process._timeout_s = scorer.pid, 0.3
    try:
        with pytest.raises(ProcessFailed, match=r"did not answer within 0\.3 s; its process was killed"):
            scorer.score(order(777))
    finally:
        scorer.process._timeout_s = PATIENCE_S
    assert third is not None
    assert not psutil.pid_exists(third)
    assert scorer.pid not in (None, third)
    scorer.close()


def test_scores_of_another_number_than_the_rows_are_refused(steered: Path) -> None:
    scorer = PyfuncScorer(steered, None, timeout_s=PATIENCE_S)
    with pytest.raises(DataError, match=r"the model gave 2 numbers for 1 rows"):
        scorer.score(order(555))
    scorer.close()


def test_the_wait_for_scores_is_the_one_of_the_options(steered: Path) -> None:
    scorer = pyfunc.open_model(steered, "binary", Options(timeout_s=0.3))
    with pytest.raises(ProcessFailed, match=r"did not answer within 0\.3 s"):
        scorer.score(order(777))
    scorer.close()


def test_one_that_does_not_come_up_again_is_not_started_all_the_time(steered: Path) -> None:
    # given a model whose files vanish while it serves, and whose process dies
    scorer = PyfuncScorer(steered, None, timeout_s=PATIENCE_S)
    shutil.rmtree(steered)
    with pytest.raises(ProcessFailed, match="ended with code 3"):
        scorer.score(order(666))

    # then the next asks why, and those after it wait their turn
    with pytest.raises(DataError, match=r"No such file"):
        scorer.score(ROWS)
    scorer.process._handle.not_before += 1000
    with pytest.raises(ProcessFailed, match=r"fails to start \(.*No such file.*\); the next attempt is in 100\d s"):
        scorer.score(ROWS)
    scorer.close()
    with pytest.raises(ProcessFailed, match="the model was closed"):
        scorer.score(ROWS)


def test_another_task_than_the_model_s_is_refused(steered: Path) -> None:
    with pytest.raises(DataError, match="the model's task is binary, not regression"):
        PyfuncScorer(steered, "regression")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such policy")
def test_one_that_answers_nobody_gives_way_once_it_is_loaded(steered: Path) -> None:
    scorer = PyfuncScorer(steered, "binary", low_priority=True)
    assert scorer.pid is not None
    assert os.sched_getscheduler(scorer.pid) == os.SCHED_IDLE
    scorer.close()
