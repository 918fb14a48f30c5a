"""Opens a project folder: policy and definitions, each checked alone and against the other."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.app.project.definitions_file import DEFINITIONS, load_definitions
from trimtab.app.project.policy_kpi_definitions import with_policy_kpis
from trimtab.definitions.arguments import trainer_parameters
from trimtab.definitions.collection import Definitions
from trimtab.definitions.llm.evaluators import Evaluator
from trimtab.definitions.models import Model
from trimtab.errors import DefinitionError, PolicyError, TrimtabError, nearest
from trimtab.llm.prompt_assembly import assemble
from trimtab.metric_catalog import BY_TASK, METRICS, MONEY, Task, fitting, of_models
from trimtab.places import of_function
from trimtab.policy.model import YAML, Policy
from trimtab.policy.reader import line_of, read_policy

POLICY = "trimtab.yaml"
OF_PROMPT = "prompt:"
"""Begins the scope of a budget of one prompt."""
OF_JUDGE = "judge:"
"""Begins the metric of a judge."""


@dataclass(frozen=True)
class Project:
    """A project folder that was read and checked."""

    folder: Path
    policy: Policy
    definitions: Definitions

    @property
    def root(self) -> Path:
        """Folder of the embedded stores."""
        return self.folder / ".trimtab"


def open_project(folder: Path) -> Project:
    """Read and check a project. Raises PolicyError or DefinitionError."""
    folder = folder.expanduser().resolve()
    policy = read_policy(folder / POLICY)
    definitions = load_definitions(folder)
    _check(folder, policy, definitions)
    definitions = with_policy_kpis(folder / POLICY, policy, definitions)
    return Project(folder, policy, definitions)


def kept_columns(project: Project, model: Model) -> tuple[str, ...]:
    """Return the columns of the examples that training sets of a model keep for its gates."""
    own = (column for gate in project.definitions.gates_of(model.name) for column in gate.columns)
    found = dict.fromkeys([*project.policy.gates.kept(model.feature_names), *own])
    return tuple(found)


def late_sources(definitions: Definitions) -> set[str]:
    """Return the sources of outcomes alone: they may have no file yet, since predictions come first."""
    needed = {view.source.name for view in definitions.views.values()}
    needed |= {model.examples.name for model in definitions.models.values()}
    return {model.outcomes.source.name for model in definitions.models.values() if model.outcomes} - needed


def _check(folder: Path, policy: Policy, definitions: Definitions) -> None:
    """Check the policy against the definitions."""
    where = folder / POLICY
    for name, check in policy.checks.tables.items():
        if name not in definitions.sources:
            raise PolicyError(
                f"{where}:{line_of(where, f'checks.{name}')}: checks.{name}: {DEFINITIONS} has no source '{name}'."
                f"{nearest(name, definitions.sources)}"
            )
        if check.schema_ is not None:
            _expect_schema(where, name, check.schema_)
        for column, reference in check.references.items():
            key = f"checks.{name}.references.{column}"
            _expect_name(where, key, reference.source, sorted(definitions.sources), "source")
    for name in policy.features.freshness:
        _expect_name(where, "features.freshness", name, sorted(definitions.views), "feature view")
    for name, channel in policy.alerts.channels.items():
        for named in channel.models or ():
            _expect_name(where, f"alerts.channels.{name}.models", named, sorted(definitions.served), "model")
        for band in channel.bands or ():
            _expect_name(where, f"alerts.channels.{name}.bands", band, policy.decide.matrix.root, "band of the matrix")
    for name, rule in policy.triggers.items():
        for named in rule.models or ():
            _expect_name(where, f"triggers.{name}.models", named, sorted(definitions.served), "model")
        if rule.source is not None:
            _expect_name(where, f"triggers.{name}.source", rule.source, sorted(definitions.sources), "source")
    made = {name for model in definitions.models.values() for name in model.feature_names}
    for name, section in policy.gates.sections().items():
        for key, feature in section.features():
            _expect_name(where, f"gates.{name}.{key}", feature, sorted(made), "feature of a model")
    if (custom := policy.gates.custom) is not None:
        for key, name in [*(("warn", name) for name in custom.warn), *(("left_out", name) for name in custom.left_out)]:
            _expect_name(where, f"gates.custom.{key}", name, definitions.gates, "gate of the project (@tt.gate)")
    for model in definitions.models.values():
        _check_model(where, policy, model)
    _check_tasks(where, policy, [each.task for each in definitions.served.values()])
    _check_parameters(where, policy, list(definitions.models.values()))
    _check_pairs(where, policy, list(definitions.models.values()))
    with definitions.placed():
        _check_prompts(folder, definitions)
    _check_llm(where, policy, definitions)


def _check_prompts(folder: Path, definitions: Definitions) -> None:
    """Refuse prompts that cannot be sent, retrievers of unknown tables, and lists of words that are not there."""
    for prompt in definitions.prompts.values():
        assemble(prompt, definitions, folder)
        for each in (found for run in prompt.evals for found in run.evaluators):
            if isinstance(each, Evaluator) and each.file is not None and not each.file.is_file():
                raise DefinitionError(f"{folder / each.place}: evaluator '{each.name}': there is no file {each.file}")
    for retriever in definitions.retrievers.values():
        if retriever.table not in definitions.sources:
            raise DefinitionError(
                f"Retriever '{retriever.name}': {DEFINITIONS} has no source '{retriever.table}'."
                f"{nearest(retriever.table, definitions.sources)}"
            )


def _check_llm(where: Path, policy: Policy, definitions: Definitions) -> None:
    """Refuse names in the section `llm` that definitions.py does not have."""
    for scope in policy.llm.budgets:
        if scope.startswith(OF_PROMPT):
            name = scope.removeprefix(OF_PROMPT)
            _expect_name(where, f"llm.budgets.{scope}", name, sorted(definitions.prompts), "prompt")
    metric = policy.llm.promote.metric
    if metric.startswith(OF_JUDGE):
        _expect_name(where, "llm.promote.metric", metric.removeprefix(OF_JUDGE), sorted(definitions.judges), "judge")
    if (endpoint := policy.llm.tune.endpoint) is not None:
        _expect_name(where, "llm.tune.endpoint", endpoint, sorted(definitions.endpoints), "endpoint")


def _expect_schema(where: Path, table: str, schema: str) -> None:
    """Refuse the name of a schema that no module of the project holds, without importing the module."""
    key = f"checks.{table}"
    prefix = f"{where}:{line_of(where, key)}: {key}"
    if schema.endswith(YAML):
        if not (where.parent / schema).is_file():
            files = [each.relative_to(where.parent).as_posix() for each in where.parent.rglob("*.y*ml")]
            raise PolicyError(f"{prefix}: there is no file {schema} in the project.{nearest(schema, files)}")
        return
    module, _, name = schema.rpartition(".")
    path = where.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        modules = [each.stem for each in where.parent.glob("*.py")]
        raise PolicyError(f"{prefix}: '{schema}': there is no {path.name} in the project.{nearest(module, modules)}")
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes(), str(path))))
    except SyntaxError as error:
        raise PolicyError(f"{prefix}: {path}:{error.lineno}: {error.msg}") from None
    if any(isinstance(node, ast.alias) and node.name == "*" for node in nodes):
        return
    names = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    if name not in names:
        raise PolicyError(f"{prefix}: {path} has no schema '{name}'.{nearest(name, names)}")


def _check_parameters(where: Path, policy: Policy, models: Sequence[Model]) -> None:
    """Refuse parameters that no trainer of the project takes, where all of them declare theirs by name."""
    declared = [trainer_parameters(model.fit) for model in models if model.fit is not None]
    if not declared or any(names is None for names in declared):
        return
    known = sorted({name for names in declared for name in names or ()})
    training = policy.training
    asked = {name: f"training.params.{name}" for name in training.params}
    asked |= {name: f"training.search.space.{name}" for name in (training.search.space if training.search else ())}
    for name, key in asked.items():
        if name not in known:
            trainers = ", ".join(of_function(model.fit) for model in models if model.fit is not None)
            place = f"{where}:{line_of(where, key)}: {key}"
            raise PolicyError(f"{place}: the trainer ({trainers}) takes no '{name}'.{nearest(name, known)}")


def _check_pairs(where: Path, policy: Policy, models: Sequence[Model]) -> None:
    """Refuse prices of classes that no model declares, where all models of classes declare theirs."""
    declared = [model.classes for model in models if "misclassification" in BY_TASK[model.task].costs]
    known = sorted({str(name) for classes in declared for name in classes or ()})
    if not declared or not all(declared):
        return
    for true, of in policy.impact.matrix.items():
        for name in (true, *of):
            if name not in known:
                place = f"{where}:{line_of(where, f'impact.cost.matrix.{true}')}: impact.cost.matrix"
                raise PolicyError(f"{place}: no model has the class '{name}'.{nearest(name, known)}")


def _check_model(where: Path, policy: Policy, model: Model) -> None:
    for column in policy.rollout.sticky or ():
        _expect_name(where, "rollout.sticky", column, model.request_columns, "request column")
    metric = policy.rollout.promote_when.metric
    if metric == MONEY:
        if model.money is None and not policy.impact.cost_for(model.task):
            place = f"{where}:{line_of(where, 'rollout.promote_when.metric')}: rollout.promote_when.metric"
            raise PolicyError(
                f"{place}: model '{model.name}' has no prices of mistakes, so versions cannot be compared by money; "
                "name them in impact.cost, or declare a function with @model.impact"
            )
    elif metric is not None and model.task not in METRICS[metric].tasks:
        raise _does_not_fit(where, "rollout.promote_when.metric", metric, model, [*fitting(model.task), MONEY])
    searched = policy.training.search.metric if policy.training.search else None
    if searched is not None and model.task not in METRICS[searched].tasks:
        raise _does_not_fit(where, "training.search.metric", searched, model, fitting(model.task))
    for name, section in policy.gates.sections().items():
        for key, value, expected in section.misfits(model.task):
            raise _does_not_fit(where, f"gates.{name}.{key}", value, model, expected)


def _does_not_fit(where: Path, key: str, metric: str, model: Model, expected: Iterable[str]) -> PolicyError:
    return PolicyError(
        f"{where}:{line_of(where, key)}: {key}: '{metric}' does not fit model '{model.name}', whose task is "
        f"{model.task}; expected {', '.join(expected)}, or leave it out: each task has its own"
    )


def _check_tasks(where: Path, policy: Policy, tasks: Iterable[Task]) -> None:
    """Refuse limits and costs that no model of the project can meet or cause."""
    present = sorted(set(tasks))
    if not present:
        return
    for name, section in policy.gates.sections().items():
        for key, why in section.unusable(present):
            place = f"gates.{name}.{key}"
            raise PolicyError(f"{where}:{line_of(where, place)}: {place}: {why}")
    if policy.training.calibrate is not None and not any(task in METRICS["log_loss"].tasks for task in present):
        raise PolicyError(
            f"{where}:{line_of(where, 'training.calibrate')}: training.calibrate: "
            f"{of_models(present)} gives no probabilities; leave it out"
        )
    possible: list[str] = [kind for task in present for kind in BY_TASK[task].costs]
    possible += ["matrix"] if "misclassification" in possible else []
    for kind in policy.impact.cost:
        if kind not in possible:
            raise PolicyError(
                f"{where}:{line_of(where, f'impact.cost.{kind}')}: impact.cost.{kind}: {of_models(present)} makes no "
                f"such mistake; expected {', '.join(possible)}"
            )


def check_columns(policy: Policy, model: Model, folder: Path, columns: Iterable[str]) -> None:
    """Check names in policy and definitions against the columns of the examples.

    Raises PolicyError or DefinitionError with the nearest column.
    """
    known = list(columns)
    where = folder / POLICY
    for name, section in policy.gates.sections().items():
        for key, column in section.columns():
            _expect_name(where, f"gates.{name}.{key}", column, known, f"column of source '{model.examples.name}'")
        for key, column in section.columns_or_features():
            what = f"feature of model '{model.name}' and no column of source '{model.examples.name}'"
            _expect_name(where, f"gates.{name}.{key}", column, [*known, *model.feature_names], what)
    defined = folder / (model.place or DEFINITIONS)
    labels = [] if model.label is None else [model.label]
    named = (model.examples.timestamp, model.examples.known_column, *labels, *model.request_columns, *model.carried)
    for column in dict.fromkeys(named):
        if column not in known:
            raise DefinitionError(
                f"{defined}: model '{model.name}': source '{model.examples.name}' has no column "
                f"'{column}'.{nearest(column, known)}"
            )


def _expect_name(where: Path, key: str, name: str, valid: Iterable[str], what: str) -> None:
    names = list(valid)
    if name not in names:
        raise PolicyError(f"{where}:{line_of(where, key)}: {key}: '{name}' is no {what}.{nearest(name, names)}")


def explain(error: BaseException) -> str:
    """Return the text of an error as a user should read it."""
    return str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
