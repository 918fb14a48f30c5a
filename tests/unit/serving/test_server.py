"""Where the gateway may listen."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from trimtab.errors import StageError, UsageError
from trimtab.serving.server import listen


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.org", "::", ""])
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="can be reached from other machines"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
def test_port_zero_takes_a_free_port(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.getsockname()[1] > 0


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)


def test_the_gateway_does_without_the_heavy_libraries() -> None:
    heavy = ("pandas", "polars", "sklearn", "mlflow", "scipy", "onnx", "deltalake", "pandera", "fairlearn")
    program = (
        "import sys, trimtab.serving, trimtab.serving.columns, trimtab.stores.predictions.segments as s\n"
        "from trimtab.stores.predictions import PREDICTION_FIELDS\n"
        "s.SegmentLog(s.Path('unused'))\n"
        "dict.fromkeys(PREDICTION_FIELDS, ())\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
