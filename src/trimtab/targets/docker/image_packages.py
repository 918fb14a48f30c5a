"""What each image installs. The gateway has the packages that serving imports, and no library that trains.

A test serves a bundle in a process that can import nothing else, so a package that serving comes to need shows there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any

from trimtab.definitions.kafka_source import KafkaSource
from trimtab.definitions.rest_source import RESTSource
from trimtab.definitions.sql_source import SQLSource
from trimtab.errors import DefinitionError
from trimtab.targets.project_facts import Facts

GATEWAY: Mapping[str, str] = {
    "alembic": "stores/metadata: makes the schema of a new store",
    "annotated-doc": "typer",
    "annotated-types": "pydantic",
    "greenlet": "sqlalchemy",
    "httptools": "serving/http1",
    "lmdb": "stores/online",
    "mako": "alembic",
    "markdown-it-py": "rich",
    "markupsafe": "mako",
    "mdurl": "rich",
    "msgspec": "records, serving/protocols",
    "numpy": "features, serving/core",
    "onnxruntime": "runtimes/onnx.py",
    "packaging": "onnxruntime",
    "prometheus-client": "serving/telemetry",
    "protobuf": "onnxruntime",
    "flatbuffers": "onnxruntime",
    "pydantic": "policy",
    "pydantic-core": "pydantic",
    "pygments": "rich",
    "pyyaml": "policy",
    "rich": "typer",
    "shellingham": "typer",
    "sqlalchemy": "stores/metadata",
    "typer": "cli",
    "typing-extensions": "pydantic",
    "typing-inspection": "pydantic",
    "uvloop": "serving/processes",
}
"""Package -> the place that needs it."""

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "catboost": ("catboost", "pandas", "python-dateutil", "scipy", "six"),
    "joblib": ("joblib", "cloudpickle"),
    "lightgbm": ("lightgbm", "narwhals", "scipy"),
    "pandas": ("pandas", "python-dateutil", "six"),
    "polars": ("polars", "polars-runtime-32"),
    "pyarrow": ("pyarrow",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn", "cloudpickle", "joblib", "narwhals", "scipy", "threadpoolctl"),
    "statsmodels": ("statsmodels", "formulaic", "pandas", "patsy", "python-dateutil", "scipy", "six"),
    "xgboost": ("xgboost-cpu", "scipy"),
}
"""Module that a project may import -> the packages that importing it takes beyond those of the gateway."""
TRAINED: Mapping[str, tuple[str, ...]] = {
    "catboost": ("catboost",),
    "lightgbm": ("lightgbm", "onnxmltools"),
    "statsmodels": ("statsmodels",),
    "xgboost": ("xgboost-cpu", "onnxmltools"),
}
"""Module that trainers may use -> the packages that training takes beyond Trimtab and its dependencies."""
RUNTIMES = ("catboost", "lightgbm", "xgboost")
"""Modules of trainers whose own files a bundle may hold, and by which the gateway then scores or explains."""
ARROW = "pyarrow"
"""Left out of the gateway: bodies in Parquet and Arrow are answered with 501 without it."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "confluent_kafka": ("confluent-kafka",),
    "croniter": ("croniter", "python-dateutil", "six"),
    "grpc_health.v1.health": ("grpcio", "grpcio-health-checking"),
    "grpc_reflection.v1alpha.reflection": ("grpcio", "grpcio-reflection"),
    "model_signing.verifying": (
        "asn1crypto", "blake3", "certifi", "cffi", "charset-normalizer", "click", "cryptography", "id", "idna",
        "in-toto-attestation", "model-signing", "platformdirs", "pycparser", "pyjwt", "pyopenssl", "requests",
        "rfc3161-client", "rfc8785", "securesystemslib", "sigstore", "sigstore-models", "sigstore-rekor-types", "tuf",
        "urllib3",
    ),
    "psycopg": ("psycopg", "psycopg-binary"),
}  # fmt: skip
"""Module that serving imports if the policy asks for it -> the packages that importing it takes in addition."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def gateway_packages(facts: Facts) -> list[str]:
    """Return the names of all packages of the gateway's image, sorted."""
    found = {*GATEWAY}
    for module in gateway_modules(facts):
        found |= {*LIBRARIES.get(module, ())}
    policy, places = facts.policy, facts.policy.environments.values()
    asked = {
        "confluent_kafka": any((each.predictions or "").startswith("kafka") for each in places),
        "croniter": any(each.cron is not None for each in policy.triggers.values()),
        "grpc_health.v1.health": policy.serving.grpc_port is not None,
        "grpc_reflection.v1alpha.reflection": policy.serving.grpc_port is not None,
        "model_signing.verifying": policy.serving.signed_by is not None,
        "psycopg": any((each.metadata or "").startswith("postgresql") for each in places),
    }
    for module, wanted in asked.items():
        found |= {*OPTIONS[module]} if wanted else set()
    return sorted(found)


def gateway_modules(facts: Facts) -> list[str]:
    """Return the modules of known libraries that serving a project imports.

    Those that its files import at their top, and the runtimes of models whose trainers use a library with a file format
    of its own.
    """
    functions = _functions(facts)
    return sorted((_imported(functions) | (_used(functions) & {*RUNTIMES})) & {*LIBRARIES})


def training_packages(facts: Facts) -> list[str]:
    """Return the names of packages that loop and trainings of a project need beyond Trimtab and its dependencies."""
    functions = _functions(facts)
    return sorted({name for module in _imported(functions) | _used(functions) for name in TRAINED.get(module, ())})


def extras(facts: Facts, *, loop: bool) -> list[str]:
    """Return the extras of Trimtab that loop or trainings of a project need."""
    policy, sources = facts.policy, facts.definitions.sources.values()
    places = policy.environments.values()
    wanted = {
        "console": loop,
        "alerts": loop and bool(policy.alerts.channels),
        "api": any(isinstance(each, RESTSource) for each in sources),
        "kafka": any(isinstance(each, KafkaSource) for each in sources)
        or any((each.predictions or "").startswith("kafka") for each in places),
        "postgres": any(isinstance(each, SQLSource) for each in sources)
        or any((each.metadata or "").startswith("postgresql") for each in places),
        "search": policy.training.search is not None,
        "signing": policy.serving.signed_by is not None,
        "ray": policy.training.on == "ray",
    }
    return sorted(name for name, needed in wanted.items() if needed)


def pinned(names: Iterable[str], constraints: str) -> list[str]:
    """Return the lines of the release's pins that name some packages, with their markers.

    Raises DefinitionError for a package without a pin.
    """
    lines: dict[str, list[str]] = {}
    for line in constraints.splitlines():
        if (found := _NAME.match(line)) is not None:
            lines.setdefault(found[0].lower(), []).append(line)
    for name in names:
        if name not in lines:
            raise DefinitionError(f"package '{name}' has no pin in this release's constraints.txt; pin it there")
    return [line for name in names for line in lines[name]]


def _functions(facts: Facts) -> list[Any]:
    """Return the functions of a project."""
    models = facts.definitions.models.values()
    rules = [model.rule.function for model in models if model.rule is not None]
    transforms = [each.function for each in facts.definitions.transforms.values()]
    return [*(model.fit for model in models if model.fit is not None), *rules, *transforms]


def _imported(functions: Iterable[Any]) -> set[str]:
    """Return the modules that the files of functions import at their top."""
    namespaces = [function.__globals__ for function in functions if isinstance(function, FunctionType)]
    return {_top(value) for names in namespaces for value in list(names.values())}


def _used(functions: Iterable[Any]) -> set[str]:
    """Return the modules that functions import or name, and the functions that they call."""
    found: set[str] = set()
    left, seen = list(functions), set[int]()
    while left:
        function = left.pop()
        if not isinstance(function, FunctionType) or id(function) in seen or _top(function) in LIBRARIES:
            continue
        seen.add(id(function))
        codes = [function.__code__]
        while codes:
            code = codes.pop()
            codes += [each for each in code.co_consts if hasattr(each, "co_names")]
            found |= {name.partition(".")[0] for name in code.co_names}
            named = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
            found |= {_top(each) for each in named}
            left += named
    return found


def _top(value: Any) -> str:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""
