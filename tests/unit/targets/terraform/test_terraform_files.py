"""The modules of Terraform: formatted, whole, valid for the provider, safe by default, and values told when wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kit.target_facts import facts
from trimtab.errors import PolicyError
from trimtab.targets.terraform import terraform_files

HERE = Path(__file__).parent
POLICY = """
project: Flight delays
deploy:
  aws: { region: eu-central-1 }
  gcp: { project: flights-prod-4711, region: europe-west3 }
"""
DEFINITIONS = """
import trimtab as tt

shop = tt.RESTSource(
    "shop", "https://shop.example.com/v1", "orders", timestamp="at", key=["id"],
    auth={"type": "bearer", "token": tt.secret("SHOP_TOKEN")},
)
value = tt.Model("value", task="regression", examples=shop, label="value", features=["age"])
"""
CLOUDS = pytest.mark.parametrize("cloud", ["aws", "gcp"])
needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    for path, text in terraform_files.files(facts(folder, POLICY, DEFINITIONS)).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "deploy" / "terraform"


def terraform(folder: Path, *arguments: str, configuration: Path | None = None) -> str:
    environment = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    if configuration is not None:
        environment["TF_CLI_CONFIG_FILE"] = str(configuration)
    done = subprocess.run(
        ["terraform", *arguments], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def plugins() -> Path | None:
    """Return a folder with unpacked providers of Terraform, aws among them."""
    found = [Path("/opt"), Path("/usr/share"), Path("/usr/local/share"), Path.home() / ".terraform.d"]
    mirrors = [each for place in found for each in place.glob("*/registry.terraform.io/hashicorp/aws")]
    return mirrors[0].parents[2] if mirrors else None


@needs_terraform
def test_files_are_formatted(modules: Path) -> None:
    terraform(modules, "fmt", "-check", "-diff", "-recursive")


@CLOUDS
def test_what_is_named_is_declared_and_what_is_declared_is_used(modules: Path, cloud: str) -> None:
    text = "".join(file.read_text() for file in sorted((modules / cloud).glob("*.tf")))
    text = re.sub(r"#.*$", "", text, flags=re.MULTILINE)
    variables = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    assert variables == set(re.findall(r"\bvar\.(\w+)", text))
    made = {(kind, name) for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)}
    assert set(re.findall(r"(?<![\w.])((?:aws|google)_\w+)\.(\w+)", text)) <= made
    read = {(kind, name) for kind, name in re.findall(r'^data "(\w+)" "(\w+)"', text, re.MULTILINE)}
    assert set(re.findall(r"\bdata\.(\w+)\.(\w+)", text)) == read
    local = set(
        re.findall(r"^  (\w+) +=", "".join(re.findall(r"^locals \{.*?^\}", text, re.MULTILINE | re.DOTALL)), re.M)
    )
    assert set(re.findall(r"\blocal\.(\w+)", text)) == local


@CLOUDS
def test_variables_have_types_descriptions_and_values_of_the_policy(modules: Path, cloud: str) -> None:
    text = (modules / cloud / "variables.tf").read_text()
    blocks = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))
    for name, block in blocks.items():
        assert re.search(r"^  type +=", block, re.MULTILINE), name
        assert re.search(r'^  description += ".{10,}"', block, re.MULTILINE), name
    values = {}
    for line in (modules / cloud / "terraform.tfvars").read_text().splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            values[name.strip()] = json.loads(value)
    needed = {name for name, block in blocks.items() if not re.search(r"^  default +=", block, re.MULTILINE)}
    assert needed <= set(values) <= set(blocks)
    assert values["project"] == values["namespace"] == "flight-delays"
    assert values["secrets"] == ["SHOP_TOKEN"]


@needs_terraform
def test_wrong_variables_of_google_cloud_are_told(modules: Path, tmp_path: Path) -> None:
    for file in ("variables.tf", "names.tf", "terraform.tfvars"):
        shutil.copy(modules / "gcp" / file, tmp_path)
    for file in ("probe.tf", "gcp.tftest.hcl"):
        shutil.copy(HERE / file, tmp_path)
    terraform(tmp_path, "init", "-backend=false")
    assert "3 passed, 0 failed" in terraform(tmp_path, "test", "-no-color")


@needs_terraform
def test_the_module_for_aws_is_valid_and_safe(modules: Path, tmp_path: Path) -> None:
    mirror = plugins()
    if mirror is None:
        pytest.skip(
            "the provider hashicorp/aws is on no folder of this machine; terraform init would need the internet"
        )
    configuration = tmp_path / "terraform.rc"
    configuration.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    module = tmp_path / "aws"
    shutil.copytree(modules / "aws", module)
    shutil.copy(HERE / "aws.tftest.hcl", module)
    terraform(module, "init", "-backend=false", configuration=configuration)
    assert "3 passed, 0 failed" in terraform(module, "test", "-no-color", configuration=configuration)


def test_only_clouds_that_the_policy_names_are_written(tmp_path: Path) -> None:
    of = facts(tmp_path, "project: p1\ndeploy: { aws: { region: eu-central-1, bucket: my-models } }\n")
    found = terraform_files.files(of)
    assert {path.split("/")[2] for path in found} == {".gitignore", "aws"}
    assert 'bucket            = "my-models"\n' in found["deploy/terraform/aws/terraform.tfvars"]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("project: p1\n", r"needs deploy\.aws\.region, or deploy\.gcp\.project"),
        (
            "project: p1\ndeploy: { gcp: { region: europe-west3 } }\n",
            r"deploy\.gcp\.project: export terraform needs it",
        ),
        ("project: 2nd try\ndeploy: { aws: { region: eu-central-1 } }\n", "'2nd-try' in names of resources"),
        (f"project: {'a' * 25}\ndeploy: {{ aws: {{ region: eu-central-1 }} }}\n", "2 to 24 letters"),
    ],
)
def test_wrong_policies_are_told_before_a_text_is_made(tmp_path: Path, policy: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        terraform_files.files(facts(tmp_path, policy))


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("aws: { database_instance: t4g.small }", "Did you mean 'db.t4g.small'"),
        ("gcp: { database_tier: 2-7680 }", "Did you mean 'db-custom-2-7680'"),
    ],
)
def test_a_wrong_machine_of_the_database_is_told_with_the_right_form(tmp_path: Path, key: str, near: str) -> None:
    with pytest.raises(PolicyError, match=near):
        facts(tmp_path, f"project: p\ndeploy: {{ {key} }}\n")
