"""Judges live turns: a sample of them, by the judges and evaluators of their prompts that need no wanted answer.

Which turns are judged follows from their ids, so a champion's turn and its shadow's are judged both. Verdicts become
labels `judge:NAME@VERSION`, which say how bad a turn is; a reply that is no verdict becomes none, and is counted.
Judges are paid from the budget of the purpose `judge`; when it is spent, judging goes on where it stopped in the next
period. Texts are judged as they are kept, masked; turns whose text is hashed or erased are passed over.

A judge is watched, too: each day it judges its first ANCHORS turns again, and an exact McNemar test compares the
verdicts with those of the first time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from trimtab import units
from trimtab.app.llm.paid_calls import EvaluationStopped, with_budget
from trimtab.app.llm.prompt_versions import load_prompt
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions.llm.evaluators import Evaluator, Judge, Score, Turn
from trimtab.errors import TrimtabError
from trimtab.llm.answer_format import AnswerSchema
from trimtab.llm.evaluate.buying import Buyer
from trimtab.llm.evaluate.judge_calls import combined, judge_request, read_verdict
from trimtab.llm.money.spend_scopes import PICO, BudgetExceeded
from trimtab.llm.prompt_assembly import target_spec
from trimtab.monitoring.event_windows import Span
from trimtab.monitoring.window_records import VersionWindow
from trimtab.records.training import Bundle
from trimtab.stats.paired.pass_rates import mcnemar
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START, Cursor

log = logging.getLogger(__name__)

BATCH = 24
"""Turns that one round judges."""
READ_ROWS = 500
ANCHORS = 30
JUDGED = ("serve", "shadow")
"""Purposes of the turns that are judged."""
FILE = "judging.json"


class Anchor(msgspec.Struct, frozen=True):
    """A turn that a judge judges again each day, with its first verdict."""

    id: str
    version: int
    passed: bool


class Anchors(msgspec.Struct):
    """Those of one version of a judge, and the day (since 1970) on which they were judged last."""

    prompt: str
    turns: list[Anchor] = []
    day: int = -1


class Progress(msgspec.Struct):
    """The content of the file: how far the log was judged, and the anchors by name of the label."""

    places: tuple[tuple[str, int, int], ...] = START.places
    anchors: dict[str, Anchors] = {}


@dataclass(frozen=True, kw_only=True)
class LiveTurn:
    """A logged turn that is to be judged."""

    id: str
    prompt: str
    version: int
    label_id: str
    """Id of its labels."""
    turn: Turn


class LiveJudging:
    """Judges in a thread of its own, so that the loop does not wait for endpoints. One instance a process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._judging = {
            name: [
                each
                for of in prompt.evals
                for each in of.evaluators
                if isinstance(each, Judge) or not each.needs_expected
            ]
            for name, prompt in workspace.project.definitions.prompts.items()
        }
        self._thread: threading.Thread | None = None
        self._specs: dict[str, AnswerSchema | None] = {}
        self.no_verdict = 0
        """Replies of judges that were no verdict."""
        self.unreadable = 0
        """Sampled turns whose text is hashed or gone."""

    def step(self, *, wait: bool = False) -> None:
        """Let the next turns be judged, unless some are being judged. wait: return when all new ones are."""
        if not any(self._judging.values()) or not self._workspace.project.policy.llm.judge.sample:
            return
        if wait:
            while self._round():
                pass
        elif self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._round, name="judging", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for what is being judged."""
        if self._thread is not None:
            self._thread.join()

    def _round(self) -> bool:
        """Judge the next turns and the anchors of the day; return True if there may be more."""
        try:
            turns, after, more = self._next()
            self._judge(turns)
            self._progress.places = after.places
            self._keep()
            self._look_again()
            return more
        except (BudgetExceeded, EvaluationStopped) as error:
            log.info("turns are not judged now: %s", error)
        except TrimtabError as error:
            log.warning("turns are not judged now: %s", error)
        return False

    def _next(self) -> tuple[list[LiveTurn], Cursor, bool]:
        """Return the next sampled turns, the place behind them, and whether rows lie behind it."""
        found, cursor = list[LiveTurn](), Cursor(self._progress.places)
        while len(found) < BATCH:
            table, after = self._workspace.predictions.read_turns(cursor, limit=READ_ROWS)
            if not table.num_rows:
                return found, cursor, False
            columns = table.select(["prediction_id", "model", "purpose"]).to_pylist()
            for place, row in enumerate(columns):
                sampled = is_sampled(row["prediction_id"], self._workspace.project.policy.llm.judge.sample)
                if row["purpose"] in JUDGED and self._judging.get(row["model"]) and sampled:
                    found += self._read(table.slice(place, 1).to_pylist()[0])
            cursor = after
        return found, cursor, True

    def _read(self, row: Mapping[str, Any]) -> Iterator[LiveTurn]:
        """Yield a turn as evaluators get it; nothing where it failed, or its text cannot be read."""
        id_, version = row["prediction_id"], row["version"]
        logged = [p for p in self._workspace.predictions.find(id_) if p["version"] == version]
        if not logged or logged[-1]["error"] is not None:
            return
        parts = {p["part"]: p for p in self._workspace.predictions.find_contents(id_) if p["version"] == version}
        if "answer" not in parts or any(part["mode"] == "hash" for part in parts.values()):
            self.unreadable += 1
            return
        names = sorted((part.split(".") for part in parts if part.startswith("messages.")), key=lambda p: int(p[1]))
        messages = [{"role": role, "content": parts[f"messages.{n}.{role}"]["text"]} for _, n, role in names]
        text, calls = parts["answer"]["text"], parts.get("tool_calls")
        parsed, wrong = self._parsed(row["model"], version, text)
        yield LiveTurn(
            id=id_,
            prompt=row["model"],
            version=version,
            label_id=id_ if logged[-1]["served"] else label_rule.answer_id(id_, version),
            turn=Turn(
                messages=messages,
                text="" if row["refused"] else text,
                tool_calls=msgspec.json.decode(calls["text"]) if calls else (),
                refusal=text if row["refused"] else None,
                finish_reason=row["finish_reason"] or "stop",
                parsed=parsed,
                format_ok=not wrong,
                input_tokens=row["input_tokens"],
                output_tokens=row["output_tokens"],
                cost=row["cost_pico"] / PICO,
                first_token_ms=(row["first_token_us"] or 0) / 1000,
                latency_ms=logged[-1]["latency_us"] / 1000,
                document_ids=row["document_ids"] or (),
            ),
        )

    def _parsed(self, prompt: str, version: int, text: str) -> tuple[Any, str]:
        """Return what an answer is by the schema of its version, and what is wrong with it."""
        name = f"{prompt}/{version}"
        if name not in self._specs:
            spec = load_prompt(self._workspace, self._workspace.metadata.get(Bundle, name))
            self._specs[name] = None if spec.schema is None else AnswerSchema(spec.schema)
        schema = self._specs[name]
        return (None, "") if schema is None else schema.read(text)

    def _judge(self, turns: Sequence[LiveTurn]) -> None:
        """Write the labels of turns: first those that cost nothing."""
        marks: list[tuple[LiveTurn, Evaluator | Judge, Score]] = [
            (turn, evaluator, _score(evaluator, turn.turn))
            for turn in turns
            for evaluator in self._judging[turn.prompt]
            if isinstance(evaluator, Evaluator)
        ]
        asked = [(turn, e) for turn in turns for e in self._judging[turn.prompt] if isinstance(e, Judge)]
        for prompt in dict.fromkeys(turn.prompt for turn, _ in asked):
            own = [(turn, judge) for turn, judge in asked if turn.prompt == prompt]
            scores = self._ask(prompt, own)
            marks += [(turn, judge, score) for (turn, judge), score in zip(own, scores, strict=True)]
            self._take_anchors(prompt, own, scores)
        self._append(marks)

    def _ask(self, prompt: str, asked: Sequence[tuple[LiveTurn, Judge]]) -> list[Score]:
        """Return the verdicts of judges. Raises BudgetExceeded, StageError."""
        policy = self._workspace.project.policy.llm
        limit = asyncio.Semaphore(policy.evaluate.concurrent)

        async def ask(buyer: Buyer, turn: LiveTurn, judge: Judge) -> Score:
            target = target_spec(judge.endpoint, judge.model, f"Judge '{judge.name}'")
            body = judge_request(judge, turn.turn, None)
            async with limit:
                replies = [await buyer(target, body, purpose="judge") for _ in range(judge.repeats)]
            return combined(judge, [read_verdict(judge, reply.text) for reply in replies])

        async def work(buyer: Buyer) -> list[Score]:
            return list(await asyncio.gather(*(ask(buyer, turn, judge) for turn, judge in asked)))

        cap = units.per_period(policy.judge.budget)[0]
        return with_budget(self._workspace, whose="judging", cap=cap, prompt=prompt, work=work)

    def _append(self, marks: Sequence[tuple[LiveTurn, Evaluator | Judge, Score]]) -> None:
        given = [(turn, evaluator, score.value) for turn, evaluator, score in marks if score.value is not None]
        self.no_verdict += len(marks) - len(given)
        if not given:
            return
        now = to_micros(self._workspace.now())
        names, predictions = [_label(evaluator) for _, evaluator, _ in given], self._workspace.predictions
        predictions.append_labels(
            {
                "prediction_id": [turn.label_id for turn, _, _ in given],
                "model": [turn.prompt for turn, _, _ in given],
                "label": [1.0 - float(value) for _, _, value in given],
                "known_at": [now] * len(given),
                "received_at": [now] * len(given),
                "class_name": [None] * len(given),
                "name": names,
                "source": ["judge"] * len(given),
                "rater": names,
            }
        )
        predictions.sync()

    def _take_anchors(self, prompt: str, asked: Sequence[tuple[LiveTurn, Judge]], scores: Sequence[Score]) -> None:
        """Keep the first turns of a judge that says pass or fail."""
        for (turn, judge), score in zip(asked, scores, strict=True):
            if judge.scale == "pass_fail" and score.value is not None:
                known = self._progress.anchors.setdefault(_label(judge), Anchors(prompt=prompt, day=self._today))
                if len(known.turns) < ANCHORS:
                    known.turns.append(Anchor(turn.id, turn.version, bool(score.value)))

    def _look_again(self) -> None:
        """Let each judge judge its anchors again, once a day, and write what has changed."""
        for prompt, evaluators in self._judging.items():
            for judge in (each for each in evaluators if isinstance(each, Judge)):
                known = self._progress.anchors.get(_label(judge))
                if known is None or known.prompt != prompt or known.day == self._today or len(known.turns) < ANCHORS:
                    continue
                known.day = self._today
                self._keep()
                turns = [(anchor, turn) for anchor in known.turns for turn in self._again(prompt, anchor)]
                scores = self._ask(prompt, [(turn, judge) for _, turn in turns])
                self._compare(judge, [(a.passed, s.value) for (a, _), s in zip(turns, scores, strict=True)], turns)

    def _again(self, prompt: str, anchor: Anchor) -> list[LiveTurn]:
        rows = self._workspace.predictions.find_turns(anchor.id)
        return [
            turn
            for row in rows
            if (row["model"], row["version"]) == (prompt, anchor.version)
            for turn in self._read(row)
        ][:1]

    def _compare(self, judge: Judge, pairs: Sequence[tuple[bool, Any]], turns: Sequence[Any]) -> None:
        """Write the signal of the day. pairs: first and present verdict of each anchor."""
        known = [(before, bool(now)) for before, now in pairs if now is not None]
        if not known:
            return
        fails, passes = sum(b and not n for b, n in known), sum(n and not b for b, n in known)
        p = min(1.0, 2 * min(mcnemar(fails, passes), mcnemar(passes, fails))) if fails + passes else 1.0
        day = self._today * units.MICROS["d"]
        _, turn = turns[0]
        window = VersionWindow(
            model=turn.prompt,
            version=turn.version,
            span=Span(day, day + units.MICROS["d"], 1),
            now=self._workspace.now(),
        )
        self._workspace.metadata.put(
            window.signal(
                "quality",
                subject=_label(judge),
                statistic="exact McNemar test of a judge's verdicts against those of its first day",
                value=(fails + passes) / len(known),
                p=p,
                effect={"fails_now": float(fails), "passes_now": float(passes)},
                rows=len(known),
                reason=f"{len(known)} turns judged again: {fails} fail now that passed, {passes} pass that failed",
            )
        )

    @property
    def _today(self) -> int:
        return to_micros(self._workspace.now()) // units.MICROS["d"]

    @cached_property
    def _progress(self) -> Progress:
        try:
            return msgspec.json.decode((self._workspace.run_folder / FILE).read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return Progress()

    def _keep(self) -> None:
        path = self._workspace.run_folder / FILE
        whole = path.with_suffix(".new")
        whole.write_bytes(msgspec.json.encode(self._progress))
        whole.replace(path)


def is_sampled(id_: str, share: float) -> bool:
    """Return True if a turn is one of the share of turns that are judged, which follows from its id."""
    return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8]) / 2**64 < share


def _label(evaluator: Evaluator | Judge) -> str:
    return f"judge:{evaluator.name}@{evaluator.version}"


def _score(evaluator: Evaluator, turn: Turn) -> Score:
    """Return what an evaluator says; no verdict where code of the project fails."""
    try:
        return evaluator.score(turn)
    except Exception as error:  # whatever code of the project raises: other turns and evaluators go on
        log.warning("evaluator '%s' failed on a live turn: %s", evaluator.name, error)
        return Score(value=None, reason=str(error))
