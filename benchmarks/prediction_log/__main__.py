"""`python -m benchmarks.prediction_log`: processor time and bytes of a row of the embedded log, for writer and reader.

Processor time in microseconds, which other work on the machine hardly changes; the best of several rounds. Rows have 30
features and two entity keys. An append is one row, or a batch of 32. Reading makes one Arrow table of segment files.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trimtab.stores.catalog import open_predictions
from trimtab.testing.predictions import prediction_rows

ROWS = 8192
"""Of each log that is measured."""
FEATURES = 30
ROUNDS = 7


def main() -> None:
    """Print one line a size of the appends."""
    print(f"{'rows an append':>14} {'append us':>10} {'bytes a row':>12} {'read us a row':>14} {'find ms':>8}")
    for size in (1, 32):
        with tempfile.TemporaryDirectory(prefix="trimtab-log-") as folder:
            _measure(Path(folder), size)


def _measure(root: Path, size: int) -> None:
    features = np.random.default_rng(0).random((size, FEATURES), dtype=np.float32)
    entities = [(("carrier", "AA"), ("origin", "SFO"))] * size
    appends = [
        prediction_rows([f"{start + row:026}" for row in range(size)], features=features, entities=entities)  # type: ignore[arg-type]  # an array has all that is used of a Sequence
        for start in range(0, ROWS, size)
    ]
    written = []
    for number in range(ROUNDS):
        log = open_predictions(None, root / str(number))
        log.append(appends[0])  # opens the lock and the file
        spent = _spent(lambda log=log: [log.append(columns) for columns in appends[1:]])  # type: ignore[misc]  # mypy infers no type for a lambda with a default
        written.append(spent / (len(appends) - 1))
        log.close()
    size_on_disk = sum(path.stat().st_size for path in (root / "0" / "predictions").glob("predictions-*"))
    reader = open_predictions(None, root / "0")
    read = min(_spent(lambda: reader.read()) for _ in range(ROUNDS)) / ROWS
    found = min(_spent(lambda: reader.find(f"{ROWS // 2:026}")) for _ in range(ROUNDS)) / 1000
    print(f"{size:>14} {min(written):>10.1f} {size_on_disk / ROWS:>12.0f} {read:>14.1f} {found:>8.1f}", flush=True)


def _spent(call: Callable[[], object]) -> float:
    """Return the microseconds of processor time of a call."""
    start = time.process_time_ns()
    call()
    return (time.process_time_ns() - start) / 1000


if __name__ == "__main__":
    main()
