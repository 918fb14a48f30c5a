"""Runs the plans of a backtest, over processes when asked; a finished one is kept on disk and not run again."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

import msgspec

import trimtab
from trimtab.app.backtest.labelled_history import History
from trimtab.app.backtest.policy_run import PolicyRun
from trimtab.app.backtest.training_cache import TrainingCache
from trimtab.app.backtest.world import Plan, World
from trimtab.app.project.definitions_file import load_definitions
from trimtab.definitions.models import Model

TRAININGS, RESULTS, HISTORIES = "trainings", "results", "histories"
"""Folders below that of a backtest."""
NOT_JUDGED = {"serving", "environments"}
"""Sections of the policy that no simulated world reads."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What plans are tried on. code: all that the trainer depends on in addition to rows, parameters and seed. kinds:
    of the request columns."""

    model: Model
    history: History
    code: str
    kinds: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Opens a subject, in the process that needs it. Sources are hashable and can be sent to other processes."""

    def open(self) -> Subject:
        """Return the subject."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class ProjectSource:
    """A model of a project, with a history that was saved to a file."""

    folder: Path
    model: str
    history: Path
    kinds: tuple[tuple[str, str], ...] = ()

    def open(self) -> Subject:
        """Return the model as definitions.py has it, and the history."""
        code = "".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.py")))
        model = load_definitions(self.folder).model(self.model)
        return Subject(model=model, history=History.read(self.history), code=code, kinds=dict(self.kinds))


@dataclass(frozen=True, kw_only=True)
class Job:
    """One plan to run. start: event time of the first window that counts, microseconds. folder: of the backtest."""

    source: Source
    plan: Plan
    start: int
    folder: Path


Told = Callable[[str, int, int], None]
"""Takes the name of a plan that is finished, how many are, and of how many."""


def run_all(jobs: Sequence[Job], *, processes: int, tell: Told) -> list[PolicyRun]:
    """Return the result of each job, in their order. Raises what a job raises; results of finished ones are kept."""
    done: dict[int, PolicyRun] = {}
    for place, result in _finished(jobs, processes):
        done[place] = result
        tell(jobs[place].plan.name, len(done), len(jobs))
    return [done[place] for place in range(len(jobs))]


def _finished(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, PolicyRun]]:
    if processes == 1 or len(jobs) == 1:
        for place, job in enumerate(jobs):
            yield place, run(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        futures = {pool.submit(run, job): place for place, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def run(job: Job) -> PolicyRun:
    """Return the result of a plan: the stored one, or that of a run."""
    subject, trainings = _opened(job.source, job.folder)
    path = job.folder / RESULTS / f"{_key(job, subject)}.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=PolicyRun)
        return msgspec.structs.replace(found, name=job.plan.name)
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    result = World(job.plan, subject.history, trainings, start=job.start).run()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{multiprocessing.current_process().pid}.part")
    part.write_bytes(msgspec.json.encode(result))
    part.replace(path)
    return result


@lru_cache(maxsize=2)
def _opened(source: Source, folder: Path) -> tuple[Subject, TrainingCache]:
    subject = source.open()
    trainings = TrainingCache(
        subject.model, subject.history, code=subject.code, folder=folder / TRAININGS, kinds=subject.kinds
    )
    return subject, trainings


def _key(job: Job, subject: Subject) -> str:
    plan = job.plan
    judged = plan.policy.model_dump_json(exclude=NOT_JUDGED)
    about = [subject.history.digest, subject.model.name, subject.code, judged, repr(plan.trigger), plan.approve]
    return hashlib.blake2b(repr([*about, job.start, program()]).encode(), digest_size=16).hexdigest()


@cache
def program() -> str:
    """Return a digest of the files of this package: another release may decide otherwise."""
    folder = Path(trimtab.__file__).parent
    found = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
