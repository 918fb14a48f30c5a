"""What is known to be missing before a verb begins: a trainer, a package that the policy needs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from trimtab.app.project.definitions_file import DEFINITIONS
from trimtab.app.project.project import POLICY, Project
from trimtab.definitions.models import Model
from trimtab.errors import DefinitionError, PolicyError
from trimtab.policy.environments import LOCAL, Environment, folder_of
from trimtab.policy.reader import line_of


def require_trainer(project: Project, model: Model) -> None:
    """Raise DefinitionError when a model cannot be trained, since nothing trains it."""
    if model.fit is None:
        defined = project.folder / (model.place or DEFINITIONS)
        raise DefinitionError(
            f"{defined}: model '{model.name}' has no trainer; decorate a function "
            f"(data, params, seed) with @{model.name}.trainer"
        )


def require_packages(
    project: Project, environment: Environment, *, grpc_port: int | None = None, loop: bool = True
) -> None:
    """Raise PolicyError for the first package that a gateway, or a loop with one, needs and that is not installed."""
    for problem in missing_packages(project, environment, grpc_port=grpc_port, loop=loop):
        raise PolicyError(problem)


def missing_packages(
    project: Project, environment: Environment, *, grpc_port: int | None = None, loop: bool = True
) -> Iterator[str]:
    """Say of each key of the policy which package it needs that is not installed.

    grpc_port: of the command line. loop: whether the loop runs here, too, which sends alerts.
    """
    serving, where = project.policy.serving, project.folder / POLICY
    named = next(
        (n for n, each in project.policy.environments.items() if folder_of(n, each) == environment.folder), LOCAL
    )
    asked = [
        ("serving.grpc_port", serving.grpc_port is not None or grpc_port is not None, "grpc", "grpcio", "grpc"),
        ("serving.signed_by", serving.signed_by is not None, "model_signing", "model-signing", "signing"),
        (
            f"environments.{named}.predictions",
            (environment.predictions or "").startswith("kafka://"),
            "confluent_kafka",
            "confluent-kafka",
            "kafka",
        ),
        ("alerts.channels", loop and bool(project.policy.alerts.channels), "apprise", "apprise", "alerts"),
    ]
    for key, wanted, module, package, extra in asked:
        if wanted and find_spec(module) is None:
            yield (
                f"{where}:{line_of(where, key)}: {key}: needs the package {package}, which is not installed. "
                f"Install it with: pip install 'trimtab[{extra}]'"
            )
