"""What a platform's contract changes of a gateway's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.cli.processes import serve
from trimtab.serving.processes.listening import GatewayConfig
from trimtab.serving.protocols.platforms.containers import SAGEMAKER_BODY, ContainerContract
from trimtab.serving.worker_options import WorkerOptions

CONTRACT = ContainerContract(
    platform="sagemaker",
    port=1234,
    model=None,
    health="/ping",
    predict="/invocations",
    max_body=SAGEMAKER_BODY,
    reason="it",
)


@pytest.mark.parametrize(("own", "taken"), [(16 * 2**20, SAGEMAKER_BODY), (99 * 2**20, 99 * 2**20)])
def test_bodies_may_be_as_large_as_the_platform_sends(
    own: int, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[GatewayConfig] = []

    def keep(config: GatewayConfig, **options: Any) -> None:
        started.append(config)

    monkeypatch.setattr(serve, "serve_forever", keep)
    options = WorkerOptions(max_body=own, max_rows=7)
    config = GatewayConfig(
        worker_command=(),
        setup={},
        open_control=lambda: pytest.fail("nothing starts"),
        run_folder=tmp_path,
        options=options,
    )
    serve._run(config, CONTRACT, None, None)
    serve._run(config, None, None, None)
    contracted = WorkerOptions(max_body=taken, max_rows=7, allowed_hosts=None)
    assert [found.options for found in started] == [contracted, options]
    assert (started[0].host, started[0].port, started[0].public) == ("0.0.0.0", 1234, "it")
