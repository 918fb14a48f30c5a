"""Images: what hadolint accepts, what the gateway holds, what no image holds."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sklearn
import yaml

from kit.target_projects import SHAPES, facts_of
from trimtab.errors import DefinitionError, PolicyError
from trimtab.policy.model import Policy
from trimtab.policy.trigger_rules import TriggerRule
from trimtab.targets.docker import dockerfiles
from trimtab.targets.docker.image_packages import extras, gateway_packages, pinned, training_packages

PIN = re.compile(r"^[a-z0-9-]+==\S+( ; .+)?$")
TRAINERS = {"scikit-learn", "scipy", "mlflow-skinny", "polars", "pandas", "dbos", "skl2onnx", "fairlearn"}


@pytest.mark.parametrize("shape", SHAPES)
def test_hadolint_accepts_all_images(shape: str, tmp_path: Path) -> None:
    made = dockerfiles.files(facts_of(shape, tmp_path))
    written = [path for path in made if path.endswith(".Dockerfile")]
    assert len(written) == 3
    for path in written:
        (tmp_path / Path(path).name).write_text(made[path])
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(hadolint), *(Path(path).name for path in written)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("shape", ["flights", "bikes"])
def test_the_gateway_has_few_packages_and_none_that_trains(shape: str, tmp_path: Path) -> None:
    facts = facts_of(shape, tmp_path)
    names = gateway_packages(facts)
    assert len(names) + 1 <= 35
    assert not TRAINERS & {*names}
    lines = [line for line in dockerfiles.requirements(facts, "gateway").splitlines() if not line.startswith("#")]
    assert all(PIN.match(line) for line in lines)
    assert {line.partition("==")[0] for line in lines} == {*names}


def test_packages_are_those_that_the_project_asks_for(tmp_path: Path) -> None:
    facts = facts_of("several", tmp_path)
    # a trainer's helper imports lightgbm, whose trees the gateway reads; the policy asks for gRPC, Kafka, PostgreSQL
    assert {"lightgbm", "scipy", "grpcio", "confluent-kafka", "psycopg"} <= {*gateway_packages(facts)}
    assert "scikit-learn" not in gateway_packages(facts)
    assert training_packages(facts) == ["lightgbm", "onnxmltools"]
    made = dockerfiles.files(facts)
    assert "libgomp1" in made["deploy/docker/gateway.Dockerfile"]
    assert 'ARG TRIMTAB="trimtab[alerts,console,kafka,postgres]==0.1.0"' in made["deploy/docker/loop.Dockerfile"]
    assert extras(replace(facts, policy=Policy(project="p")), loop=False) == ["postgres"], "its SQL source"
    assert '"--grpc-port", "8081"]' in made["deploy/docker/gateway.Dockerfile"]


def test_a_schedule_brings_its_parser_into_the_gateway(tmp_path: Path) -> None:
    facts = facts_of("bikes", tmp_path)
    assert "croniter" not in gateway_packages(facts)
    rule = TriggerRule(on="schedule", cron="0 3 * * *")
    scheduled = replace(facts, policy=facts.policy.model_copy(update={"triggers": {"nightly": rule}}))
    assert {*gateway_packages(scheduled)} - {*gateway_packages(facts)} == {"croniter", "python-dateutil", "six"}


def test_a_file_that_imports_a_library_at_its_top_brings_it_into_the_gateway(tmp_path: Path) -> None:
    facts = facts_of("bikes", tmp_path)
    model = next(iter(facts.definitions.models.values()))
    assert model.fit is not None
    model.fit.__globals__["sklearn"] = sklearn
    assert {"scikit-learn", "scipy", "joblib"} <= {*gateway_packages(facts)}
    assert "sklearn is here because" in dockerfiles.requirements(facts, "gateway")


@pytest.mark.parametrize("shape", SHAPES)
def test_images_run_without_root_and_hold_neither_data_nor_keys(shape: str, tmp_path: Path) -> None:
    facts = facts_of(shape, tmp_path)
    made = dockerfiles.files(facts)
    for part in dockerfiles.PARTS:
        text = made[f"deploy/docker/{part}.Dockerfile"]
        assert {"ARG RUN_AS=10001", "USER $RUN_AS:$RUN_AS", "STOPSIGNAL SIGTERM"} <= {*text.splitlines()}
        assert text.count("HEALTHCHECK ") == 1
        assert "TRIMTAB_CONTAINER" not in text, "who runs the image elsewhere must be asked for tokens"
        ignored = made[f"deploy/docker/{part}.Dockerfile.dockerignore"].splitlines()
        assert {".trimtab", ".git", "**/*.key", *dockerfiles.data_folders(facts)} <= {*ignored}
    assert dockerfiles.data_folders(facts) == (["incoming"] if shape == "several" else ["data"])
    services = yaml.safe_load(made["deploy/docker/compose.yaml"])["services"]
    assert all(each["read_only"] and each["cap_drop"] == ["ALL"] for each in services.values())
    assert services["gateway"]["ports"][0] == "127.0.0.1:8080:8080"
    assert services["loop"]["pid"] == "service:gateway"


def test_the_compose_file_passes_on_secrets_the_environment_ports_and_certificates(tmp_path: Path) -> None:
    tls = "\nserving: { tls: { certificate: certs/gateway.crt, key: certs/gateway.key, client_ca: /etc/ca.crt } }\n"
    services = {
        shape: yaml.safe_load(dockerfiles.compose(facts_of(shape, tmp_path / shape, further)))["services"]
        for shape, further in (("several", ""), ("bikes", tls))
    }
    for part in dockerfiles.PARTS:
        variables = services["several"][part]["environment"]
        assert {name for name, value in variables.items() if value is None} == {
            "MERGE_TOKEN", "SHOP_PASSWORD", "SLACK_TOKEN",
        }  # fmt: skip
        assert variables["TRIMTAB_ENV"] == "${TRIMTAB_ENV:-local}"
    assert services["several"]["gateway"]["ports"] == ["127.0.0.1:8080:8080", "127.0.0.1:8081:8081"]
    assert services["bikes"]["gateway"]["volumes"][-3:] == [
        "../../certs/gateway.crt:/project/certs/gateway.crt:ro",
        "../../certs/gateway.key:/project/certs/gateway.key:ro",
        "/etc/ca.crt:/etc/ca.crt:ro",
    ]
    assert not any("certs" in each for each in services["bikes"]["loop"]["volumes"])


def test_the_name_of_a_project_is_text_in_labels(tmp_path: Path) -> None:
    facts = facts_of("bikes", tmp_path)
    named = replace(facts, policy=facts.policy.model_copy(update={"project": 'a "b" $HOME \\ c'}))
    text = dockerfiles.dockerfile(named, "gateway")
    assert 'description="Gateway of project a \\"b\\" \\$HOME \\\\ c"' in text


def test_the_same_project_gives_the_same_bytes(tmp_path: Path) -> None:
    assert dockerfiles.files(facts_of("several", tmp_path / "a")) == dockerfiles.files(
        facts_of("several", tmp_path / "b")
    )


def test_files_outside_of_the_project_are_refused_before_any_text_is_made(tmp_path: Path) -> None:
    facts = facts_of("flights", tmp_path)
    object.__setattr__(facts.definitions.sources["flights"], "path", "/srv/flights")
    with pytest.raises(PolicyError, match=r"source 'flights' reads /srv/flights.*such as data/flights"):
        dockerfiles.files(facts)


def test_a_package_without_a_pin_is_refused() -> None:
    assert pinned(["numpy"], "numpy==1 ; a\nnumpy==2 ; b\nnumpy-x==3\n") == ["numpy==1 ; a", "numpy==2 ; b"]
    with pytest.raises(DefinitionError, match="package 'torch' has no pin"):
        pinned(["torch"], "numpy==1\n")
