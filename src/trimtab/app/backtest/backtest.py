"""A backtest of one model of a project: history, plans, runs, table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from trimtab.app.backtest import labelled_history
from trimtab.app.backtest.labelled_history import History
from trimtab.app.backtest.plans import plans
from trimtab.app.backtest.policy_table import MIN_WINDOWS, PolicyTable, make_table
from trimtab.app.backtest.running import HISTORIES, Job, ProjectSource, Told, run_all
from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.models import Model
from trimtab.errors import StageError
from trimtab.features.training_frames import request_types
from trimtab.monitoring.row_money import prices
from trimtab.policy.model import Policy
from trimtab.units import plural, short

FOLDER = "backtest"
"""Below the root of the project's stores."""
FIRST_SHARE = 0.25
"""Share of the time span whose rows train the first model, unless --from says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a backtest is asked for.

    names: of policies. vary: values of policy keys. start: of the first window that counts. end: rows from here on are
    left out. log: take the prediction log instead of the labelled examples. label_delay: in microseconds, in place of
    the times at which labels became known. processes: run at a time.
    """

    names: Sequence[str] = ()
    vary: Sequence[str] = ()
    start: datetime | None = None
    end: datetime | None = None
    log: bool = False
    label_delay: int | None = None
    processes: int = 1


def backtest(workspace: Workspace, model: Model, asked: Asked, *, tell: Told) -> PolicyTable:
    """Return what each policy would have cost. Raises UsageError for an unknown name or key, StageError for too few
    rows, DataError for labels that do not fit the task."""
    policy = workspace.project.policy
    wanted = plans(policy, asked.names, asked.vary)
    history, remarks = _history(workspace, model, asked, policy)
    start = _start(history, policy, asked.start, model.name)
    folder = workspace.root / FOLDER
    path = folder / HISTORIES / f"{history.digest}.npz"
    if not path.is_file():
        history.save(path)
    kinds = tuple(sorted(request_types(model, workspace.scan()).items()))
    source = ProjectSource(folder=workspace.project.folder, model=model.name, history=path, kinds=kinds)
    jobs = [Job(source=source, plan=plan, start=start, folder=folder) for plan in wanted]
    runs = run_all(jobs, processes=asked.processes, tell=tell)
    return make_table(runs, model=model.name, currency=policy.impact.currency, prices=policy.prices, remarks=remarks)


def _history(workspace: Workspace, model: Model, asked: Asked, policy: Policy) -> tuple[History, list[str]]:
    remarks = []
    keep = policy.gates.kept(model.feature_names)
    if asked.log:
        found = labelled_history.of_log(workspace, model)
        if keep:
            raise StageError(
                f"gates need the columns {', '.join(keep)} of the examples, which the prediction log does not have: "
                "leave --log out, or set gates.bias to null"
            )
    else:
        found = labelled_history.of_examples(workspace, model, keep=keep, end=asked.end)
    if asked.label_delay is not None:
        found = found.delayed(asked.label_delay)
        remarks.append(f"labels become known {short(asked.label_delay)} after their rows (--label-delay)")
    elif bool((found.known_at[found.labelled] <= found.at[found.labelled]).all()):
        remarks.append("labels are known at once: the source names no known_at; with --label-delay 14d they come later")
    end = None if asked.end is None else to_micros(asked.end)
    found = found.between(None, end)
    labelled_history.check(found, what=f"model '{model.name}'")
    if policy.gates.performance is not None:
        remarks.append("the performance gate, which measures a packed bundle, is not part of a backtest")
    if workspace.project.definitions.gates_of(model.name) and policy.gates.custom is not None:
        remarks.append("gates that the project defines are not part of a backtest")
    if policy.rollout.strategy == "canary":
        remarks.append("a canary's steps need live traffic; a version that passes its gates serves at once")
    for key, asked_for in (("search", policy.training.search), ("warm_start", policy.training.warm_start != "never")):
        if asked_for:
            remarks.append(f"training.{key} is not part of a backtest: each model is trained anew with training.params")
    if not prices(policy.impact, model.task, model.money):
        remarks.append("the policy names no costs (impact.cost), so there is no money; what is saved is loss a row")
    return found, remarks


def _start(history: History, policy: Policy, asked: datetime | None, model: str) -> int:
    """Return when the first window begins. Raises StageError when no model can be trained then, or too few follow."""
    size = policy.decide.window
    if not len(history):
        raise StageError(f"model '{model}' has no rows in this stretch of time")
    first, last = int(history.at[0]), int(history.at[-1])
    found = to_micros(asked) if asked else first + round(FIRST_SHARE * (last - first))
    found = found // size * size
    least = policy.training.min_examples
    if asked is None and int(history.known(found).sum()) < least:
        known = np.sort(history.known_at[history.labelled])
        if len(known) < least:
            raise StageError(
                f"model '{model}' has {len(known):,} labelled rows; training.min_examples asks for {least:,} before "
                "the first model is trained"
            )
        found = (int(known[least - 1]) // size + 1) * size
    known_rows = int(history.known(found).sum())
    if known_rows < least:
        raise StageError(
            f"{known_rows:,} labels are known by {from_micros(found):%Y-%m-%d}, where the backtest begins; "
            f"training.min_examples asks for {least:,}. Take a later --from (rows: {labelled_history.span(history)})"
        )
    windows = (last - found) // size + 1
    if windows < MIN_WINDOWS:
        raise StageError(
            f"{plural(max(windows, 0), 'window')} of {short(size)} would follow {from_micros(found):%Y-%m-%d}; a "
            f"backtest needs {MIN_WINDOWS} at least. Rows: {labelled_history.span(history)}; take an earlier --from, "
            "or a shorter decide.window"
        )
    return found
