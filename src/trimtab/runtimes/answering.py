"""The main loop of a process that scores with one model.

It loads the model, writes a hello frame, and answers each frame of rows with a frame of scores. What the model prints
goes to standard error. The process ends when the pipe is closed, even while the model scores. It ignores SIGINT and
SIGTERM: a signal to the whole process group must not end it before the gateway has finished its requests.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import Schema, from_plain
from trimtab.errors import DataError
from trimtab.runtimes import pipe_frames

Predict = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
Load = Callable[[int], tuple[Predict, str]]
"""Takes the file descriptor of incoming frames; returns the function that scores rows, and the text of the hello."""


def answer_rows(load: Load) -> None:
    """Answer frames of rows on standard input with frames of scores on standard output."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _unmoved)
    rows_fd, answers_fd = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # text that the model prints must not mix with the frames
    threading.Thread(target=_end_with_the_pipe, args=(rows_fd,), daemon=True).start()
    try:
        predict, hello = load(rows_fd)
    except BaseException as error:  # a border: loading runs third-party code
        pipe_frames.write(answers_fd, pipe_frames.pack(pipe_frames.ERROR, _text(error)))
        raise
    pipe_frames.write(answers_fd, pipe_frames.pack(pipe_frames.HELLO, hello.encode()))
    while True:
        try:
            _, content = pipe_frames.read(rows_fd)
        except pipe_frames.Gone:
            return
        try:
            X, typed = pipe_frames.unpack_rows(content)
            if typed is not None:
                X = from_plain(Schema.read(typed[0]), X, typed[1])
            answer = pipe_frames.pack(pipe_frames.SCORES, predict(X).astype("<f8").tobytes())
        except Exception as error:  # a border: the model is third-party code
            answer = pipe_frames.pack(pipe_frames.ERROR, _text(error))
        pipe_frames.write(answers_fd, answer)


def _unmoved(number: int, frame: object) -> None:
    """Do nothing. Programs that the model starts inherit an ignored signal, but not this handler."""


def _end_with_the_pipe(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, 0)  # poll reports the end of a pipe even without events
    poll.poll()
    os._exit(0)


def _text(error: BaseException) -> bytes:
    text = str(error).strip()
    if isinstance(error, DataError):
        return text.encode()
    return (f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__).encode()
