"""Where the gateway may listen, and what its workers do without."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import StageError, UsageError
from trimtab.serving.processes.listening import GatewayConfig, listen
from trimtab.serving.web.server import _raise_limit
from trimtab.serving.worker_options import WorkerOptions


def config(folder: Path, host: str, port: int = 0, **options: Any) -> GatewayConfig:
    return GatewayConfig(
        worker_command=(),
        setup={},
        open_control=lambda: pytest.fail("nothing is opened"),
        run_folder=folder,
        host=host,
        port=port,
        options=WorkerOptions(**options),
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.org", "::", ""])
def test_an_address_that_others_can_reach_is_refused_without_tokens(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match=r"which could call the gateway without a token.*trimtab token create"):
        listen(config(tmp_path, host))


def test_with_tokens_any_address_will_do(tmp_path: Path) -> None:
    with listen(config(tmp_path, "0.0.0.0", authentication=True)) as listener:
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
def test_port_zero_takes_a_free_port(tmp_path: Path, host: str) -> None:
    with listen(config(tmp_path, host)) as listener:
        assert listener.getsockname()[1] > 0


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen(config(tmp_path, "127.0.0.1", port))


HEAVY = (
    *("pandas", "polars", "sklearn", "mlflow", "scipy", "onnx", "deltalake", "pandera", "fairlearn"),
    *("sqlalchemy", "alembic", "pydantic", "pyarrow", "typer", "rich", "yaml", "grpc", "lightgbm"),
)


def test_a_worker_does_without_the_heavy_libraries() -> None:
    program = (
        "import sys, trimtab.app.gateway.worker_program, trimtab.stores.online.lmdb\n"
        "import trimtab.stores.predictions.embedded.segment_log as s\n"
        "from trimtab.stores.predictions.contract import PREDICTION_FIELDS\n"
        "s.SegmentLog(s.Path('unused'))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_supervisor_starts_without_what_only_its_workers_need() -> None:
    needless = ("numpy", "onnxruntime", "httptools", "asyncio", "pyarrow", "sqlalchemy", "mlflow", "rich")
    program = f"import sys, trimtab.cli.processes.serve\nprint([name for name in {needless!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_worker_takes_as_many_connections_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        _raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
