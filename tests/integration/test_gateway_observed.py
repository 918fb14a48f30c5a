"""What operators see of a real gateway: encrypted connections, spans, counts that outlive workers, a log in JSON."""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

from integration.gateway_project import GatewayProject, infer
from integration.otlp_receiver import attributes, receiving
from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.gateway.tokens import create


@pytest.fixture
def project(tmp_path: Path) -> Iterator[GatewayProject]:
    made = GatewayProject(
        tmp_path,
        serving={
            "workers": 2,
            "authentication": "tokens",
            "tls": {"certificate": "gateway.pem", "key": "gateway.key"},
        },
    )
    made.deploy(1)
    yield made
    made.stop()


def issue(folder: Path, *, end: datetime) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "gateway.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "gateway.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )


def value(text: str, name: str, **labels: str) -> float:
    """Return the sum of the samples of a name with some labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_everything_that_operators_see(project: GatewayProject) -> None:
    issue(project.folder, end=datetime.now(UTC) + timedelta(days=20))
    metadata, clock = project.workspace.metadata, project.workspace.clock
    _, secret = create(metadata, clock, "all", by="tests")
    with receiving() as collector:
        url = project.start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRIMTAB_LOG_LEVEL="INFO")
        assert url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(project.folder / "gateway.pem"))
        allowed = {"authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=url, verify=trust, headers=allowed, timeout=PATIENCE_S) as client:
            wait_for(lambda: infer(client, 1).status_code == 200, "the token is known")
            for _ in range(20):
                assert infer(client, 1).status_code == 200
            assert infer(client).status_code == 400

            def shown() -> str:
                return client.get("/metrics").text

            wait_for(lambda: value(shown(), "trimtab_workers") == 2, "both workers show their counts")
            wait_for(lambda: value(shown(), "trimtab_predictions_total", served="true") == 21, "all rows are shown")
            assert value(shown(), "trimtab_requests_total", protocol="open_inference", status="400") == 1
            gateway = running_gateway(project.workspace.run_folder)
            assert gateway is not None
            os.kill(gateway.workers[0], signal.SIGKILL)
        with httpx.Client(base_url=url, verify=trust, headers=allowed, timeout=PATIENCE_S) as client:

            def answers() -> bool:
                try:
                    return infer(client, 1).status_code == 200
                except httpx.TransportError:  # the worker that was killed had the connection
                    return False

            wait_for(answers, "the gateway answers again")
            wait_for(lambda: value(shown(), "trimtab_predictions_total", served="true") >= 22, "nothing is forgotten")
        assert project.stop() == 0
        predictions = [span for span in collector.spans if span.name == "POST /v2/models/{model}/infer"]
        answered = [span for span in predictions if "trimtab.version" in attributes(span)]
        assert answered
        children = {span.parent_span_id: set[str]() for span in collector.spans if span.parent_span_id}
        for span in collector.spans:
            if span.parent_span_id:
                children[span.parent_span_id].add(span.name)
        assert all(children[span.span_id] == {"features", "score", "log"} for span in answered)
    said = [line for line in project.log().splitlines() if not line.startswith("gateway  https")]  # standard output
    lines = [msgspec.json.decode(line) for line in said]
    assert {"0", "1"} <= {line.get("worker") for line in lines}
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert secret not in project.log()


def test_a_certificate_that_cannot_be_used_is_said_before_anything_starts(project: GatewayProject) -> None:
    issue(project.folder, end=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(AssertionError, match=r"gateway\.pem: expired on"):
        project.start()
    assert project.stop() == 2
