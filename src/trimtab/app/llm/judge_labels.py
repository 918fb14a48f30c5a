"""Verdicts of people on answers, which judges are compared with: a file with a row for each verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.app.llm.prompt_versions import current_spec
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.definitions.llm.evaluators import Item, Judge, Turn
from trimtab.definitions.llm.prompts import Prompt
from trimtab.errors import DataError, DefinitionError, nearest
from trimtab.llm.chat_messages import render
from trimtab.llm.evaluate.items import file_rows, read_items
from trimtab.llm.evaluate.results import CANDIDATE
from trimtab.records.training import Run

PASS = ("pass", "passed", "true", "yes", "good", "1")
FAIL = ("fail", "failed", "false", "no", "bad", "0")


class Verdict(NamedTuple):
    """What a person said. value: from 0 to 1."""

    rater: str
    value: float


@dataclass(frozen=True, kw_only=True)
class JudgedAnswer:
    """An answer with the verdicts of people on it. place: of the first one in the file."""

    place: str
    turn: Turn
    item: Item | None
    verdicts: Sequence[Verdict]

    @property
    def value(self) -> float:
        """What people say of it: the mean."""
        return fmean(each.value for each in self.verdicts)


@dataclass(frozen=True, kw_only=True)
class PersonLabels:
    """The labels of a judge. hash: SHA-256 of their content. blank: rows without a verdict, which are left out."""

    answers: Sequence[JudgedAnswer]
    hash: str
    blank: int


def prompts_of(workspace: Workspace, judge: str) -> list[Prompt]:
    """Return the prompts whose evaluations a judge is part of."""
    prompts = workspace.project.definitions.prompts.values()
    return [p for p in prompts if any(e.name == judge for each in p.evals for e in each.evaluators)]


def read_labels(workspace: Workspace, judge: Judge) -> PersonLabels:
    """Read the verdicts of people on answers that a judge is to judge, too.

    A row names the answer by `item`, with its text in `answer` (else the one of the last evaluation counts), or by
    `prediction_id`: then its text comes from the log.

    Raises:
        DefinitionError: the judge names no labels.
        DataError: a row cannot be read, or names what is not there.
    """
    if judge.labels is None:
        raise DefinitionError(
            f"Judge '{judge.name}' has no labels: write answers for people to judge by `trimtab judge sample "
            f"{judge.name} labels.csv`, then name the file: labels=tt.FileSource(...)"
        )
    known, blank = _Answers(workspace, judge), 0
    groups: dict[tuple[str, str], list[tuple[str, Verdict]]] = {}
    digest = hashlib.sha256()
    for place, row in file_rows(judge.labels, workspace.project.folder, f"Judge '{judge.name}': labels"):
        if "verdict" not in row:
            raise DataError(f"{place}: there is no column 'verdict'.{nearest('verdict', row)}")
        if row["verdict"] is None or str(row["verdict"]).strip() == "":
            blank += 1
            continue
        value = _value(row["verdict"], place)
        key = _key(row, place)
        rater = str(row.get("rater") or "")
        digest.update(msgspec.json.encode([key, rater, value]))
        said = groups.setdefault(key, [])
        if any(verdict.rater == rater for _, verdict in said):
            whose = f"rater '{rater}'" if rater else "a rater without a name"
            raise DataError(f"{place}: {whose} has judged this answer in {said[0][0]} already")
        said.append((place, Verdict(rater, value)))
    answers = [known.find(key, said[0][0], [verdict for _, verdict in said]) for key, said in groups.items()]
    return PersonLabels(answers=answers, hash=digest.hexdigest(), blank=blank)


def _key(row: Mapping[str, Any], place: str) -> tuple[str, str]:
    """Return what a row is about: (prediction:ID, "") or (ID of an item, the answer)."""
    item, prediction = row.get("item"), row.get("prediction_id")
    if prediction:
        return f"prediction:{prediction}", ""
    if not item:
        raise DataError(f"{place}: neither item nor prediction_id says which answer it is about")
    return str(item), str(row.get("answer") or "")


def _value(given: Any, place: str) -> float:
    word = str(given).strip().lower()
    if word in PASS or word in FAIL:
        return float(word in PASS)
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise DataError(f"{place}: verdict '{given}'; expected pass or fail, or a number from 0 to 1")
    return number


class _Answers:
    """Finds the turns that labels are about."""

    def __init__(self, workspace: Workspace, judge: Judge) -> None:
        self._workspace = workspace
        self._items: dict[str, tuple[Item, PromptSpec]] = {}
        self._last: dict[str, str] = {}
        for prompt in prompts_of(workspace, judge.name):
            spec = current_spec(workspace, prompt.name)
            for each in prompt.evals:
                for item in read_items(each.set, workspace.project.folder).items:
                    self._items.setdefault(item.id, (item, spec))
            self._last |= _last_answers(workspace, prompt.name)

    def find(self, key: tuple[str, str], place: str, verdicts: Sequence[Verdict]) -> JudgedAnswer:
        """Return an answer with its verdicts. Raises DataError."""
        name, answer = key
        if name.startswith("prediction:"):
            turn = self._logged(name.removeprefix("prediction:"), place)
            return JudgedAnswer(place=place, turn=turn, item=None, verdicts=verdicts)
        if name not in self._items:
            raise DataError(f"{place}: no set of the judge's prompts has an item '{name}'.{nearest(name, self._items)}")
        item, spec = self._items[name]
        text = answer or self._last.get(name)
        if text is None:
            raise DataError(f"{place}: there is no text in the column 'answer', and no evaluation has one")
        try:
            given = item.inputs.get("messages")
            messages = render(spec, {}, given) if given else render(spec, item.inputs)
        except DataError as error:
            raise DataError(f"{place}: item '{name}': {error}") from None
        return JudgedAnswer(place=place, turn=Turn(messages=messages, text=text), item=item, verdicts=verdicts)

    def _logged(self, prediction: str, place: str) -> Turn:
        rows = self._workspace.predictions.find_contents(prediction)
        parts = {str(row["part"]): row for row in rows}
        if "answer" not in parts:
            raise DataError(f"{place}: the log keeps no text of the turn '{prediction}'")
        if any(row["mode"] == "hash" for row in rows):
            raise DataError(f"{place}: the log keeps the turn '{prediction}' as a hash (llm.store.messages)")
        places = sorted(
            (int(part.split(".")[1]), part.split(".")[2], row["text"])
            for part, row in parts.items()
            if part.startswith("messages.")
        )
        return Turn(
            messages=[{"role": role, "content": text} for _, role, text in places], text=str(parts["answer"]["text"])
        )


def _last_answers(workspace: Workspace, prompt: str) -> dict[str, str]:
    """Return the candidate's first answer to each item in the last evaluation of a prompt."""
    run = next((run for run in workspace.metadata.find(Run, model=prompt) if run.purpose == "evaluate"), None)
    if run is None:
        return {}
    return {item.id: item.answers[CANDIDATE][0].text for item in evaluation_of(workspace, run).items}
