"""Runs KServe's clients against a gateway: python -m clients.with_kserve PYTHON, the Python that has kserve.

kserve asks for other versions of what we pin, so it lives in an environment of its own (make test-clients).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from clients.gateway import make_stores, running_gateway

CALLS = Path(__file__).with_name("kserve_calls.py")


def main(python: str) -> int:
    """Return the exit code of the clients."""
    with tempfile.TemporaryDirectory() as folder:
        make_stores(Path(folder))
        with running_gateway(Path(folder)) as running:
            command = [python, str(CALLS), str(running.http), str(running.grpc)]
            return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
