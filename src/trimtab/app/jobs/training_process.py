"""Trains in a process of its own: `python -m trimtab.app.jobs.training_process [FILE]`.

So a training that hangs can be ended, and one that crashes or takes too much memory ends nothing else. The order comes
on standard input, or from a file in a container. A process that got it on standard input ends with the one that
started it, which holds the other end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from trimtab import units
from trimtab.app.jobs.job_order import Order, Result, perform, read_result, too_large
from trimtab.app.jobs.passing_failures import MayPass
from trimtab.app.project.child_processes import TRAINING
from trimtab.app.project.process_files import write_atomically
from trimtab.errors import StageError
from trimtab.serving.processes.memory_limit import limit_memory


def run_in_process(order: Order, timeout: int | None) -> Result:
    """Run a training, and end it after so many microseconds.

    Raises StageError for a training that did not end in time, or crashed; MayPass when a retry may succeed.
    """
    process = subprocess.Popen(TRAINING, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        code = process.wait(None if timeout is None else timeout / units.MICROS["s"])
    except subprocess.TimeoutExpired:
        assert timeout is not None
        raise StageError(
            f"the training of model '{order.model}' did not end within {units.short(timeout)} (retrain.timeout)"
        ) from None
    finally:
        _end(process)
    try:
        return read_result(order, f"ended with exit code {code}")
    except StageError as error:
        if code == -signal.SIGKILL:
            raise MayPass(f"{error}; the system may have had too little memory") from None
        if code == -signal.SIGABRT and order.memory is not None:  # libraries in C++ abort without memory
            raise StageError(too_large(order, str(error))) from None
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and the ones that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Run the order of a file, or of standard input."""
    if arguments:
        received = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Order)
    else:
        received = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if received.memory is not None:
        limit_memory(received.memory)
    write_atomically(Path(received.result), msgspec.json.encode(perform(received)))
    os._exit(0)  # libraries' threads may hang at the end of the interpreter


if __name__ == "__main__":
    main(sys.argv[1:])
