"""Evaluates a prompt: as the project has it now compared with its champion, or two versions with one another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import msgspec

from trimtab import __version__
from trimtab.app.llm.evaluation_plan import (
    expected_cost,
    plan_lines,
    spread_before,
    tolerated_loss,
)
from trimtab.app.llm.judge_standing import judge_standings
from trimtab.app.llm.judged_items import corrected_words
from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.app.llm.paid_calls import detecting, with_budget
from trimtab.app.llm.prompt_versions import current_spec, index_of, load_prompt
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.clock import to_micros
from trimtab.definitions.llm.evaluators import Evaluator, Item, Judge
from trimtab.definitions.llm.prompts import Prompt
from trimtab.errors import DataError, DefinitionError, StoreError, UsageError, nearest
from trimtab.gates.prompts.prompt_gate_table import evaluate_prompt
from trimtab.gates.prompts.prompt_inputs import PromptInputs
from trimtab.llm.answer_format import AnswerSchema
from trimtab.llm.chat_body import chat_body
from trimtab.llm.chat_messages import render
from trimtab.llm.document_index import DocumentIndex, open_index, with_documents
from trimtab.llm.evaluate.buying import Buyer
from trimtab.llm.evaluate.items import ITEMS_FILE, read_items
from trimtab.llm.evaluate.results import CANDIDATE, Evaluation, Side
from trimtab.llm.evaluate.runner import Buy, Contestant, Course, Part, Request, Runner
from trimtab.llm.prompt_assembly import target_spec
from trimtab.records.gate_reports import GateResult
from trimtab.records.llm import EvalSetVersion
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest

FILES = "files"
"""How the version is named that the project has now."""
CACHE = "evaluations"
"""Folder of answers that were bought, in that of the environment."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a prompt. name: such as triage/3, or FILES."""

    name: str
    spec: PromptSpec
    bundle: Bundle | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an evaluation is asked for. None: as the policy says.

    Attributes:
        sets: names of sets; none: all.
        repeats: answers to each item.
        max_cost: what it may spend.
        fresh: whether answers of earlier evaluations do not count.
    """

    sets: Sequence[str] = ()
    repeats: int | None = None
    max_cost: float | None = None
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation with what the gates say of it."""

    evaluation: Evaluation
    results: tuple[GateResult, ...]
    candidate: Version
    champion: Version | None


@dataclass(kw_only=True)
class Evaluating:
    """The evaluation of one prompt, prepared: sets are read, and nothing is bought yet.

    same_as: the version that serves, where it equals the candidate.
    only: the items that count, as a hash, where `parts` were cut down; empty: all.
    """

    workspace: Workspace
    prompt: Prompt
    candidate: Version
    champion: Version | None
    same_as: str = ""
    options: Options = field(default_factory=Options)
    tell: Callable[[str], None] = lambda text: None
    only: str = ""

    def __post_init__(self) -> None:
        self.parts = _parts(self.workspace, self.prompt, self.options.sets)
        _refuse_namesakes(self.prompt, self.parts)
        self.quality = _quality(self.prompt, self.parts)
        self.judges = _judges(self.parts)
        self.standings = judge_standings(self.workspace, self.judges)

    @property
    def key(self) -> str:
        """What the verdicts of the gates depend on, as a hash: where it is equal, nothing is asked again."""
        llm = self.workspace.project.policy.llm
        rules = llm.evaluate.model_dump(mode="json", exclude={"concurrent", "retries", "budget"})
        content = [
            self.candidate.spec.prompt_hash,
            self.champion.bundle.id if self.champion and self.champion.bundle else None,
            [[part.version, [[each.name, each.version] for each in part.evaluators]] for part in self.parts],
            self.quality,
            llm.gates.model_dump(mode="json"),
            rules,
            self.options.repeats,
            *([self.only] if self.only else []),
            {name: found.refused for name, found in self.standings.items()},
            __version__,
        ]
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:32]

    @property
    def main_set(self) -> str:
        """Id of the set by which quality is judged."""
        return next(part.version for part in self.parts if self.quality in [each.name for each in part.evaluators])

    def check(self) -> tuple[float, float]:
        """Return the loss that is tolerated, and the smallest change that the items can show; without a champion 0.

        Raises PolicyError for a fixed margin that they cannot show.
        """
        if self.champion is None:
            return 0.0, 0.0
        parts = [part for part in self.parts if self.quality in [each.name for each in part.evaluators]]
        units = sum(len(set(part.items.clusters)) for part in parts)
        spread = spread_before(self.workspace.metadata, self.prompt.name, self.quality)
        return tolerated_loss(self.workspace, units=units, spread=spread)

    def run(self) -> Evaluated:
        """Buy what is not there yet, and let the gates judge.

        Raises:
            PolicyError: the margin of the policy cannot be shown by these items.
            UsageError: the expected cost is more than may be spent.
            EvaluationStopped: the budget is spent.
            StageError: an endpoint does not answer.
            DataError: an item does not fit the prompt.
        """
        workspace, llm = self.workspace, self.workspace.project.policy.llm
        margin, shown = self.check()
        cap = llm.evaluate.budget if self.options.max_cost is None else self.options.max_cost
        fixed = self.options.repeats
        course = Course(
            repeats=fixed or llm.evaluate.repeats,
            max_repeats=fixed or max(llm.evaluate.max_repeats, llm.evaluate.repeats),
            concurrent=llm.evaluate.concurrent,
            smallest_effect=shown,
            fresh=self.options.fresh,
        )
        evaluation = with_budget(
            workspace,
            whose=self.prompt.name,
            cap=cap,
            prompt=self.prompt.name,
            work=lambda buyer: self._asked(buyer, course, cap),
        )
        results = evaluate_prompt(
            PromptInputs(
                evaluation=evaluation,
                gates=llm.gates,
                rules=llm.evaluate,
                margin=margin,
                informs={name: found.refused for name, found in self.standings.items() if found.refused},
                corrected={
                    name: corrected_words(workspace, judge, self.standings[name], evaluation)
                    for name, judge in self.judges.items()
                },
                same_as=self.same_as,
            )
        )
        return Evaluated(evaluation=evaluation, results=results, candidate=self.candidate, champion=self.champion)

    def runner(self, buy: Buy, course: Course, versions: Sequence[Version], parts: Sequence[Part]) -> Runner:
        """Return what answers and marks the items of some parts by one or two versions."""
        workspace, redactor = self.workspace, detecting(self.workspace)
        return Runner(
            prompt=self.prompt.name,
            quality=self.quality,
            sides=[self._contestant(each) for each in versions],
            parts=parts,
            judges={
                name: target_spec(judge.endpoint, judge.model, f"Judge '{name}'") for name, judge in self.judges.items()
            },
            buy=buy,
            cache=workspace.root / CACHE,
            project=workspace.project.folder,
            now=lambda: to_micros(workspace.now()) / 1e6,
            course=course,
            personal_data=lambda text: sorted({each.kind for each in redactor.found(text)}),
            tell=self.tell,
        )

    async def _asked(self, buyer: Buyer, course: Course, cap: float) -> Evaluation:
        workspace = self.workspace
        versions = [each for each in (self.candidate, self.champion) if each is not None]
        runner = self.runner(buyer, course, versions, self.parts)
        expected = expected_cost(workspace, runner, _length_before(workspace, self.prompt.name))
        currency = workspace.project.policy.impact.currency
        confidence = workspace.project.policy.llm.evaluate.confidence
        shown = course.smallest_effect
        for line in plan_lines(runner, expected, currency=currency, shown=shown, cap=cap, confidence=confidence):
            self.tell(line)
        if expected.measured and expected.cost > cap:
            raise UsageError(
                f"about {expected.cost:.4g} {currency} is expected, and {cap:g} may be spent: raise "
                "llm.evaluate.budget, or give --max-cost"
            )
        return await runner.run()

    def _index(self, version: Version) -> DocumentIndex | None:
        """Return the documents of a version: those in its bundle, else those that the table has now."""
        if version.spec.retriever is None:
            return None
        if version.bundle is not None:
            return open_index(self.workspace.artifacts.open(version.bundle.path))
        return index_of(self.workspace, version.spec.retriever)

    def _contestant(self, version: Version) -> Contestant:
        spec, llm = version.spec, self.workspace.project.policy.llm
        index = self._index(version)
        side = Side(
            name=version.name,
            prompt_hash=spec.prompt_hash,
            endpoint=spec.target.endpoint.name,
            model=spec.target.model,
        )

        def request(item: Item, place: str) -> Request:
            """Variables that this version does not know are left out: another version of the prompt has them."""
            try:
                sent = item.inputs.get("messages", ())
                unknown = {"messages", *(set(self.candidate.spec.variables) - set(spec.variables))}
                own = {name: value for name, value in item.inputs.items() if name not in unknown}
                given, documents = with_documents(spec, index, own, sent)
                messages = render(spec, given, sent)
            except DataError as error:
                raise DataError(f"{place}: {error}") from None
            return Request(chat_body(spec, messages, limit=llm.limits.output_tokens), documents)

        return Contestant(
            side=side,
            target=spec.target,
            request=request,
            schema=None if spec.schema is None else AnswerSchema(spec.schema),
            tools=frozenset(str((tool.get("function") or {}).get("name")) for tool in spec.tools),
            key=spec.prompt_hash,
        )


def compared_with(workspace: Workspace, name: str) -> Version | None:
    """Return the champion of a prompt; None before the first."""
    revision = open_rollouts(workspace, name).current()
    if revision is None:
        return None
    return version_of(workspace, workspace.metadata.get(Bundle, str(revision.bundle_in("champion"))))


def version_of(workspace: Workspace, bundle: Bundle) -> Version:
    """Return the version of a prompt that a bundle holds."""
    return Version(name=bundle.id, spec=load_prompt(workspace, bundle), bundle=bundle)


def version_named(workspace: Workspace, prompt: str, given: str) -> Version:
    """Return a version by its number, or by its id; FILES: as the project has it now. Raises UsageError."""
    if given == FILES:
        return Version(name=FILES, spec=current_spec(workspace, prompt))
    number = given.rpartition("/")[2]
    bundles = workspace.metadata.find(Bundle, model=prompt)
    found = next((each for each in bundles if str(each.version) == number), None)
    if found is None:
        valid = [FILES, *(str(each.version) for each in bundles)]
        raise UsageError(f"prompt '{prompt}' has no version '{given}'.{nearest(given, valid)}")
    return version_of(workspace, found)


def _parts(workspace: Workspace, prompt: Prompt, names: Sequence[str]) -> list[Part]:
    """Read the sets of a prompt, and record their versions."""
    known = [each.set.name for each in prompt.evals]
    for name in names:
        if name not in known:
            raise UsageError(f"prompt '{prompt.name}' has no set '{name}'.{nearest(name, known)}")
    chosen = [each for each in prompt.evals if not names or each.set.name in names]
    if not chosen:
        raise DefinitionError(
            f"Prompt '{prompt.name}' has no evals, so nothing says whether a version is good; add "
            "evals=[tt.Eval(tt.EvalSet(...), tt.exact())]"
        )
    found = []
    for each in chosen:
        items = read_items(each.set, workspace.project.folder)
        name = f"evalsets/{items.name}/{items.hash[:16]}"
        if not workspace.artifacts.exists(name):
            folder = workspace.artifacts.staging()
            (folder / ITEMS_FILE).write_bytes(items.to_jsonl())
            workspace.artifacts.publish(folder, name)
        version = EvalSetVersion(
            id=f"{items.name}/{items.hash[:16]}",
            created_at=workspace.now(),
            name=items.name,
            hash=items.hash,
            items=len(items.items),
            clusters=len(set(items.clusters)),
            tags=items.tags,
            path=name,
        )
        workspace.metadata.put(version)
        found.append(Part(items=items, version=version.id, evaluators=each.evaluators))
    return found


def _refuse_namesakes(prompt: Prompt, parts: Sequence[Part]) -> None:
    """Raise DefinitionError for different evaluators of one name: their results are put together."""
    seen: dict[str, str] = {}
    for part in parts:
        for each in part.evaluators:
            if seen.setdefault(each.name, each.version) != each.version:
                raise DefinitionError(
                    f"Prompt '{prompt.name}': different evaluators of its sets are named '{each.name}'; give one of "
                    f"them another name, such as tt.{each.name}(..., name='{each.name}_2')"
                )


def _quality(prompt: Prompt, parts: Sequence[Part]) -> str:
    """Return the name of the evaluator that decides."""
    names = [
        each.name
        for part in parts
        for each in part.evaluators
        if isinstance(each, Judge) or (isinstance(each, Evaluator) and each.gate == "quality")
    ]
    if prompt.quality is not None and prompt.quality in names:
        return prompt.quality
    if prompt.quality is not None or not names:
        wanted = f"'{prompt.quality}'" if prompt.quality else "an evaluator of quality, such as tt.exact()"
        raise DefinitionError(f"Prompt '{prompt.name}': no set has {wanted}.{nearest(prompt.quality or '', names)}")
    return names[0]


def _judges(parts: Sequence[Part]) -> dict[str, Judge]:
    return {each.name: each for part in parts for each in part.evaluators if isinstance(each, Judge)}


def _length_before(workspace: Workspace, prompt: str) -> float:
    """Return the mean output tokens of the last evaluation's candidate; NaN without one."""
    run = latest(workspace.metadata, Run, model=prompt)
    if run is None or run.purpose != "evaluate":
        return math.nan
    try:
        tokens = [answer.output_tokens for _, answer in evaluation_of(workspace, run).answers(CANDIDATE)]
    except (DataError, StoreError):
        return math.nan
    return fmean(tokens) if tokens else math.nan
