"""Manifests: taken by Kubernetes' own schemas, documented, refused where no cluster could run them."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kit.target_projects import KUBERNETES, SHAPES, facts_of
from trimtab.definitions.push_source import PushSource
from trimtab.errors import PolicyError
from trimtab.serving.protocols import health
from trimtab.targets.kept_regions import merge
from trimtab.targets.kubernetes import manifests
from trimtab.targets.kubernetes.manifests import FOLDER
from trimtab.targets.kubernetes.workloads import LEAVES_S
from trimtab.targets.project_facts import Facts

SECRETS = ["MERGE_TOKEN", "SHOP_PASSWORD", "SLACK_TOKEN"]
"""Variables that triggers, definitions and alerts name."""
VERSIONS = ("1.29", "1.33", "1.37")
CRDS: dict[str, dict[str, set[str]]] = {
    "ServiceMonitor": {
        "spec": {"selector", "endpoints"},
        "spec.endpoints": {"port", "path", "interval", "scheme", "tlsConfig", "authorization"},
    },
    "HTTPRoute": {
        "spec": {"parentRefs", "hostnames", "rules"},
        "spec.rules": {"backendRefs"},
        "spec.rules.backendRefs": {"name", "port", "weight"},
    },
    "Application": {
        "spec": {"project", "source", "destination", "syncPolicy"},
        "spec.source": {"repoURL", "targetRevision", "path"},
        "spec.destination": {"server", "namespace"},
        "spec.syncPolicy": {"automated", "syncOptions", "retry"},
    },
    "InferenceService": {
        "spec": {"predictor"},
        "spec.predictor": {"minReplicas", "maxReplicas", "canaryTrafficPercent", "model"},
        "spec.predictor.model": {"modelFormat", "runtime", "protocolVersion", "storageUri"},
    },
    "ServingRuntime": {
        "spec": {"annotations", "supportedModelFormats", "protocolVersions", "containers"},
        "spec.supportedModelFormats": {"name", "version", "autoSelect", "priority"},
    },
}
"""Fields that the published definitions of these kinds have; the schemas of Kubernetes hold none of them."""


def documents(made: dict[str, str], under: str) -> list[dict[str, Any]]:
    """Return all objects in the YAML files below a folder."""
    texts = [text for path, text in made.items() if path.startswith(f"{FOLDER}/{under}") and path.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each.get("kind") != "Kustomization"]


def kind(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the only object of a kind."""
    (found,) = [each for each in objects if each["kind"] == name]
    return found


def project(shape: str, folder: Path) -> Facts:
    """Return a project; the one with several models has every key of the section."""
    return facts_of(shape, folder, KUBERNETES if shape == "several" else "")


@pytest.mark.parametrize("shape", SHAPES)
def test_kubernetes_takes_every_object(shape: str, tmp_path: Path) -> None:
    made = manifests.files(project(shape, tmp_path))
    objects = documents(made, "base") + documents(made, "overlays")
    checked = [each for each in objects if each["kind"] not in CRDS]
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= {each["kind"] for each in checked}
    for version in VERSIONS:
        for each in checked:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_type_does_not_pass(tmp_path: Path) -> None:
    made = manifests.files(project("flights", tmp_path))
    deployment = kind(documents(made, "base"), "Deployment")
    deployment["spec"]["replicas"] = "three"
    with pytest.raises(kubernetes_validate.ValidationError, match="three"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_of_other_projects_have_their_published_fields(shape: str, tmp_path: Path) -> None:
    made = manifests.files(project(shape, tmp_path))
    objects = [each for under in ("base", "argocd", "kserve") for each in documents(made, under)]
    for each in objects:
        for path, fields in CRDS.get(each["kind"], {}).items():
            for part in _at([each], path.split(".")):
                assert {*part} <= fields, (each["kind"], path)
    names = {each["metadata"]["name"] for each in objects if each["kind"] == "InferenceService"}
    assert len(names) == 2 * len(project(shape, tmp_path / "again").definitions.models)


def _at(parts: list[Any], path: list[str]) -> list[Any]:
    if not path:
        return [inner for part in parts for inner in (part if isinstance(part, list) else [part])]
    flat = [inner for part in parts for inner in (part if isinstance(part, list) else [part])]
    return _at([part[path[0]] for part in flat if path[0] in part], path[1:])


@pytest.mark.parametrize("shape", ["flights", "several"])
def test_kustomize_builds_base_and_overlays(shape: str, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on the PATH")
    made = manifests.files(project(shape, tmp_path))
    for path, text in made.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def build(under: str) -> list[dict[str, Any]]:
        command = [kubectl, "kustomize", str(tmp_path / FOLDER / under)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    objects = build("base")
    assert len(objects) == len(documents(made, "base"))
    overlay = build("overlays/production")
    assert len(overlay) == len(objects) + 1
    data = [each["data"] for each in overlay if each["metadata"]["name"].endswith("-environment")]
    assert data[0]["TRIMTAB_ENV"] == ("production" if shape == "several" else "local")
    assert kind(overlay, "Namespace")["metadata"]["name"].endswith("-production")
    spaces = {each["metadata"].get("namespace") for each in overlay if each["kind"] != "Namespace"}
    assert spaces == {kind(overlay, "Namespace")["metadata"]["name"]}


def test_an_overlay_has_the_objects_of_its_environment(tmp_path: Path) -> None:
    policy = """
environments:
  staging: {}
  test: {}
  production: { serving: { authentication: tokens, grpc_port: 8081 } }
"""
    facts = facts_of("bikes", tmp_path, policy)
    made = manifests.files(facts)
    patches = {
        name: yaml.safe_load(made[f"{FOLDER}/overlays/{name}/kustomization.yaml"])["patches"]
        for name in ("staging", "production")
    }
    assert patches["production"] == []
    found = {each["target"]["name"]: json.loads(each["patch"]) for each in patches["staging"]}
    assert {*found} == {"bikes-environment", "bikes-gateway", "bikes"}
    (spec,) = (json.loads(each["patch"]) for each in patches["staging"] if each["target"]["kind"] == "Deployment")
    gateway = spec[0]["value"]["template"]["spec"]["containers"][0]
    assert gateway["env"] == [{"name": "TRIMTAB_CONTAINER", "value": "kubernetes"}], "it asks for no tokens"
    assert "--grpc-port" not in gateway["args"]
    schema = json.loads(made[f"{FOLDER}/chart/values.schema.json"])
    assert schema["properties"]["environment"]["enum"] == ["production"], "the others have another gateway"


def test_a_gateway_without_tokens_has_no_way_from_outside_in_its_chart(tmp_path: Path) -> None:
    for shape, outside in (("bikes", False), ("several", True)):
        made = manifests.files(project(shape, tmp_path / shape))
        assert (f"{FOLDER}/chart/templates/ingress.yaml" in made) == outside
        assert ("ingress" in json.loads(made[f"{FOLDER}/chart/values.schema.json"])["properties"]) == outside


def test_variables_of_secrets_are_those_that_values_name(tmp_path: Path) -> None:
    facts = project("several", tmp_path)
    commented = replace(facts, policy_text=facts.policy_text + "# such as ${OTHER}\n")
    assert commented.secrets == SECRETS


@pytest.mark.parametrize("shape", SHAPES)
def test_every_value_is_documented_and_has_a_schema(shape: str, tmp_path: Path) -> None:
    made = manifests.files(project(shape, tmp_path))
    values, readme = made[f"{FOLDER}/chart/values.yaml"], made[f"{FOLDER}/chart/README.md"]
    table = dict(re.findall(r"^\| `([\w.]+)` \| .* \| (.+) \|$", readme, re.MULTILINE))
    schema = json.loads(made[f"{FOLDER}/chart/values.schema.json"])

    def leaves(tree: dict[str, Any], schema: dict[str, Any], above: str = "") -> list[str]:
        assert schema["additionalProperties"] is False
        found = []
        for name, value in tree.items():
            of = schema["properties"][name]
            inner = isinstance(value, dict) and "properties" in of
            found += leaves(value, of, f"{above}{name}.") if inner else [above + name]
            assert inner or of["description"] == table[above + name]
        return found

    assert leaves(yaml.safe_load(values), schema) == [*table]
    for about in table.values():
        assert f"# {about}\n" in values
    used = {
        key for path, text in made.items() if "/templates/" in path for key in re.findall(r"\.Values\.([\w.]+)", text)
    }
    assert used == {*table}


@pytest.mark.parametrize("shape", SHAPES)
def test_pods_are_restricted_and_name_no_secret_s_value(shape: str, tmp_path: Path) -> None:
    facts = project(shape, tmp_path)
    objects = documents(manifests.files(facts), "base")
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    pods += [each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in objects if each["kind"] == "CronJob"]
    assert len(pods) == (4 if shape == "several" else 1)
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            secrets = [each for each in container["env"] if "valueFrom" in each]
            assert [each["name"] for each in secrets] == (SECRETS if shape == "several" else [])
            assert all(each["valueFrom"]["secretKeyRef"]["name"] == "parcel-shop-secrets" for each in secrets)
    assert "Secret" not in {each["kind"] for each in objects}
    gateway = next(each for pod in pods for each in pod["containers"] if each["name"] == "gateway")
    opened = {"name": "TRIMTAB_CONTAINER", "value": "kubernetes"}
    assert (opened in gateway["env"]) == (facts.policy.serving.authentication == "none")


def test_probes_ask_what_the_gateway_answers_and_stopping_takes_as_long_as_draining(tmp_path: Path) -> None:
    paths = {route.path for route in health.routes(None)}  # type: ignore[arg-type]  # nothing is asked of it
    for shape, grace in (("flights", LEAVES_S + 10 + 10), ("several", 5 + 20 + 10)):
        objects = documents(manifests.files(project(shape, tmp_path / shape)), "base")
        pod = next(
            each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-gateway")
        )["spec"]["template"]["spec"]
        gateway = pod["containers"][0]
        probes = [gateway[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]
        assert {*probes} <= paths
        assert probes[1] == "/v2/health/live", "a model that cannot be loaded is no reason to restart"
        assert pod["terminationGracePeriodSeconds"] == grace
        assert ("lifecycle" in gateway) == (shape == "flights"), "the policy's drain_delay takes the place of a pause"


def test_stores_in_folders_have_one_pod_with_one_view_of_processes(tmp_path: Path) -> None:
    objects = documents(manifests.files(project("flights", tmp_path)), "base")
    deployment = kind(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    pod = deployment["template"]["spec"]
    assert pod["shareProcessNamespace"] is True
    assert [each["name"] for each in pod["containers"]] == ["gateway", "loop"]
    readme = manifests.files(project("flights", tmp_path))[f"{FOLDER}/chart/README.md"]
    assert "exec deploy/flight-delays-gateway --container loop -- trimtab run\n" in readme
    assert "HorizontalPodAutoscaler" not in {each["kind"] for each in objects}
    assert not {"Job", "CronJob"} & {each["kind"] for each in objects}, "it would not see the processes of the pod"


def test_stores_that_machines_share_have_several_gateways_and_one_loop(tmp_path: Path) -> None:
    objects = documents(manifests.files(project("several", tmp_path)), "base")
    gateway, loop = (each for each in objects if each["kind"] == "Deployment")
    assert "replicas" not in gateway["spec"], "the autoscaler sets it"
    assert (loop["spec"]["replicas"], loop["spec"]["strategy"]) == (1, {"type": "Recreate"})
    scaler = kind(objects, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert [each["type"] for each in scaler["metrics"]] == ["Resource", "Pods"]
    assert len(gateway["spec"]["template"]["spec"]["topologySpreadConstraints"]) == 2
    mounts = {
        each["mountPath"]: each["name"] for each in gateway["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    for environment in ("staging", "production"):
        own = f"/project/.trimtab/environments/{environment}/run"
        assert mounts[own] == "own", "counts and orders of no other gateway"
    claim = kind(objects, "PersistentVolumeClaim")["spec"]
    assert (claim["accessModes"], claim["storageClassName"]) == (["ReadWriteMany"], "fast")
    kinds = {each["kind"] for each in objects}
    assert {"Ingress", "ServiceMonitor"} <= kinds
    jobs = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "CronJob"}
    assert jobs["parcel-shop-training"]["suspend"] is True, "a release starts none, and it can be applied again"
    assert jobs["parcel-shop-ingest"]["schedule"] == "15 * * * *"
    for each in jobs.values():
        job = each["jobTemplate"]["spec"]
        assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2], "a refused gate stays refused"
        (container,) = job["template"]["spec"]["containers"]
        assert {"name": "own", "mountPath": own, "subPath": own.removeprefix("/project/")} in container["volumeMounts"]
    assert "HTTPRoute" not in kinds
    callers = kind(objects, "NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert callers[1] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}


def test_tags_that_ci_sets_in_an_overlay_stay(tmp_path: Path) -> None:
    path = f"{FOLDER}/overlays/staging/kustomization.yaml"
    made = manifests.files(project("flights", tmp_path))[path]
    tagged = made.replace("newTag: 0.1.0", "newTag: c0ffee")
    assert merge(made, tagged, path) == tagged
    assert {each["newTag"] for each in yaml.safe_load(tagged)["images"]} == {"c0ffee"}


def test_deleting_the_application_leaves_volume_and_namespace(tmp_path: Path) -> None:
    made = manifests.files(project("several", tmp_path))
    objects = documents(made, "base") + documents(made, "overlays/production")
    for each in (kind(objects, "PersistentVolumeClaim"), kind(objects, "Namespace")):
        assert "Delete=false" in each["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]


def test_kserve_splits_as_the_policy_says(tmp_path: Path) -> None:
    facts = facts_of("flights", tmp_path)
    objects = documents(manifests.files(facts), "kserve")
    services = [each for each in objects if each["kind"] == "InferenceService"]
    assert [each["spec"]["predictor"].get("canaryTrafficPercent") for each in services] == [10, None]
    weights = [each["weight"] for each in kind(objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"]]
    assert weights == [900, 100]
    assert all(
        each["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment" for each in services
    )
    runtime = kind(objects, "ServingRuntime")["spec"]
    assert runtime["containers"][0]["args"][:2] == ["serve", "/mnt/models"]
    assert services[0]["spec"]["predictor"]["model"]["runtime"] == kind(objects, "ServingRuntime")["metadata"]["name"]


ASKED = "\ndeploy: {{ kubernetes: {{ {} }} }}\n"
TOKENS = "\nserving: { authentication: tokens }\n"
SHARED = "\nenvironments: { production: { metadata: postgresql://db/x, predictions: kafka://k:9092/p } }\n"


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (ASKED.format("replicas: { max: 3 }"), "several gateways need environments.local.metadata in PostgreSQL"),
        (ASKED.format("replicas: { max: 3 }") + SHARED, "feature views, which model 'delay' reads"),
        (ASKED.format("replicas: { min: 3, max: 2 }"), "max 2 is less than min 3"),
        (ASKED.format("replicas: { max: three }"), "deploy.kubernetes.replicas.max"),
        (ASKED.format("cpu: 500MB"), "'500MB' is no number of cores; expected such as 500m or 2"),
        (ASKED.format("volumes: { shared: mnt/shared }"), "'shared: mnt/shared' is no claim and folder"),
        (ASKED.format("ingest: 0 * * * *"), "{ on: schedule, run: ingest, cron: '0 * * * *' }"),
        (ASKED.format("ingest: hourly"), "'hourly' has 1 fields; expected five"),
        (ASKED.format("ingest: 99 * * * *"), "'99 * * * *' is no cron expression"),
        (ASKED.format("ingest: 0 4 * * 5-7"), "nor 7 for Sunday, which is 0 there"),
        (ASKED.format("ingress: { host: a.example.com }, callers: [web]"), "asks for no token in environment 'local'"),
        (ASKED.format("ingress: { host: a.example.com }") + TOKENS, "callers: [ingress-nginx]"),
        (ASKED.format("service_monitor: true"), "callers names; expected such as callers: [monitoring]"),
        (
            ASKED.format("ingress: { host: a.example.com }, callers: [web]")
            + TOKENS
            + "environments: { staging: { serving: { authentication: none } } }\n",
            "asks for no token in environment 'staging'",
        ),
        (ASKED.format("replica: {}"), "Did you mean 'replicas'?"),
        (ASKED.format('repository: "https://me:secret@git.example.com/x"'), "repository holds a password"),
        (
            "\nenvironments: { staging: { metadata: postgresql://u:secret@db/x } }\n",
            "environments.staging.metadata: holds",
        ),
        ("\nenvironments: { staging: { tables: /srv/tables } }\n", "'/srv/tables' is on no volume"),
    ],
)
def test_what_no_cluster_can_run_is_refused_before_any_file_is_made(policy: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refused:
        manifests.files(facts_of("flights", tmp_path, policy))
    assert says in str(refused.value)
    assert "u:secret" not in str(refused.value)


def test_trainings_that_the_loop_s_pod_cannot_start_are_refused(tmp_path: Path) -> None:
    facts = facts_of("several", tmp_path, "\ntraining: { on: kubernetes }\n")
    with pytest.raises(PolicyError, match=r"training\.on: .* expected process, subprocess or ray"):
        manifests.files(facts)


def test_models_are_copied_where_kserve_looks_for_them(tmp_path: Path) -> None:
    made = manifests.files(facts_of("flights", tmp_path))
    (service,) = documents(made, "kserve/inference-services")
    assert (
        service["spec"]["predictor"]["model"]["storageUri"] == "pvc://flight-delays-state/state/models/delay/champion"
    )
    assert "namespace" not in service["metadata"]
    program = runpy.run_path(str(_written(made, "kserve/copy_models.py", tmp_path)))
    archives = []
    for number in (1, 2):
        (tmp_path / "MLmodel").write_text(f"version {number}")
        archives.append(str(tmp_path / f"delay-{number}.tar.gz"))
        with tarfile.open(archives[-1], "w:gz") as archive:
            archive.add(tmp_path / "MLmodel", "MLmodel")
    both = [{"role": role, "archive": path} for role, path in zip(("champion", "challenger"), archives, strict=True)]
    folder = tmp_path / "models" / "delay"
    program["copy"](folder, both)
    assert [(folder / each["role"] / "MLmodel").read_text() for each in both] == ["version 1", "version 2"]
    program["copy"](folder, [{"role": "champion", "archive": archives[1]}])
    assert (folder / "champion" / "MLmodel").read_text() == "version 2"
    assert [each.name for each in folder.iterdir()] == ["champion"]


def _written(made: dict[str, str], path: str, folder: Path) -> Path:
    file = folder / Path(path).name
    file.write_text(made[f"{FOLDER}/{path}"])
    return file


def test_volumes_of_the_user_take_folders_that_environments_share(tmp_path: Path) -> None:
    policy = """
deploy: { kubernetes: { volumes: { shared: /mnt/shared } } }
environments:
  staging: { artifacts: /mnt/shared/artifacts }
  production: { artifacts: PLACE }
"""
    made = manifests.files(facts_of("bikes", tmp_path / "a", policy.replace("PLACE", "/mnt/shared/artifacts")))
    pod = kind(documents(made, "base"), "Deployment")["spec"]["template"]["spec"]
    assert {"name": "volume-shared", "persistentVolumeClaim": {"claimName": "shared"}} in pod["volumes"]
    for container in pod["containers"]:
        assert {"name": "volume-shared", "mountPath": "/mnt/shared"} in container["volumeMounts"]
    for place in ("/mnt/sharedby/artifacts", "/mnt/shared/../other"):
        with pytest.raises(PolicyError, match=r"is on no volume; .*, or in one that deploy\.kubernetes\.volumes names"):
            manifests.files(facts_of("bikes", tmp_path / "b", policy.replace("PLACE", place)))


def test_files_that_a_source_reads_elsewhere_need_a_volume(tmp_path: Path) -> None:
    facts = facts_of("flights", tmp_path)
    object.__setattr__(facts.definitions.sources["flights"], "path", "/srv/flights")
    with pytest.raises(PolicyError, match="source 'flights' reads /srv/flights"):
        manifests.files(facts)
    asked = facts.policy.deploy.kubernetes.model_copy(update={"volumes": {"rows": "/srv"}})
    deploy = facts.policy.deploy.model_copy(update={"kubernetes": asked})
    made = manifests.files(replace(facts, policy=facts.policy.model_copy(update={"deploy": deploy})))
    (pod,) = (each["spec"]["template"]["spec"] for each in documents(made, "base") if each["kind"] == "Deployment")
    assert [each["mountPath"] for each in pod["containers"][1]["volumeMounts"]][-1] == "/srv"
    assert "/project/srv" not in str(pod)


def test_pushed_rows_have_one_gateway(tmp_path: Path) -> None:
    facts = project("several", tmp_path)
    pushed = PushSource("clicks", schema={"at": "time", "who": "text"}, timestamp="at")
    sources = {**facts.definitions.sources, "clicks": pushed}
    with pytest.raises(PolicyError, match="rows pushed to source 'clicks' wait; expected 1"):
        manifests.files(replace(facts, definitions=replace(facts.definitions, sources=sources)))


def test_the_same_policy_gives_the_same_bytes_and_a_policy_may_hold_braces(tmp_path: Path) -> None:
    facts = facts_of("several", tmp_path, KUBERNETES)
    braces = replace(facts, policy_text=facts.policy_text + "# {{ .Values.x }}\n")
    assert manifests.files(braces) == manifests.files(braces)
    chart = {path: text for path, text in manifests.files(braces).items() if "/templates/" in path}
    assert not any(".Values.x " in text for text in chart.values())
