"""The life of a process that scores with one model, after it was started. Called by pyfunc_worker and aside_worker.

It loads the model, says hello, and answers frames of rows with frames of scores. What the model prints goes to standard
error. It ends when the pipe is closed, even while the model works, and by no other sign: a signal that was meant for
the whole gateway must not end it before the gateway has finished what is under way.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from trimtab.errors import DataError
from trimtab.runtimes import pipe_frames

Predict = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
Load = Callable[[int], tuple[Predict, str]]
"""Takes the file number that frames come from; returns what scores rows, and the text of the hello."""


def answer_rows(load: Load) -> None:
    """Serve a model over standard input and output."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _unmoved)
    rows_fd, answers_fd = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what the model prints must not come between the frames
    threading.Thread(target=_end_with_the_pipe, args=(rows_fd,), daemon=True).start()
    try:
        predict, hello = load(rows_fd)
    except BaseException as error:  # a border: loading runs strangers' code
        pipe_frames.write(answers_fd, pipe_frames.pack(pipe_frames.ERROR, _text(error)))
        raise
    pipe_frames.write(answers_fd, pipe_frames.pack(pipe_frames.HELLO, hello.encode()))
    while True:
        try:
            _, content = pipe_frames.read(rows_fd)
        except pipe_frames.Gone:
            return
        try:
            answer = pipe_frames.pack(
                pipe_frames.SCORES, predict(pipe_frames.unpack_rows(content)).astype("<f8").tobytes()
            )
        except Exception as error:  # a border: the model is strangers' code
            answer = pipe_frames.pack(pipe_frames.ERROR, _text(error))
        pipe_frames.write(answers_fd, answer)


def _unmoved(number: int, frame: object) -> None:
    """Do nothing; unlike an ignored signal this is not handed on to programs that the model starts."""


def _end_with_the_pipe(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, 0)  # the end of a pipe is told in any case
    poll.poll()
    os._exit(0)


def _text(error: BaseException) -> bytes:
    text = str(error).strip()
    if isinstance(error, DataError):
        return text.encode()
    return (f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__).encode()
