"""Which share of a window's sampled turns a judge passes, corrected by what people said of turns that it judged.

One signal a judge and matured window of the champion, with the half width of its interval. It informs: harm is shown by
the labels that `llm.promote.metric` names.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.llm.judge_standing import JUDGE, judge_of, judge_standing
from trimtab.app.llm.watching.judging import is_sampled
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions.llm.evaluators import Judge
from trimtab.errors import NotFound
from trimtab.monitoring.event_windows import Span
from trimtab.monitoring.window_records import VersionWindow
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.stores.metadata.contract import newest_until
from trimtab.stores.predictions.contract import START

BLOCK_ROWS = 20_000
SUBJECT = "judged:"
"""Begins the subject of the signals; the name of the judge follows."""


class JudgeShares:
    """Reads the verdicts of the log from its beginning, and then what is new. One instance a process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._judges = {
            name: [each for of in prompt.evals for each in of.evaluators if isinstance(each, Judge)]
            for name, prompt in workspace.project.definitions.prompts.items()
        }
        self._rows, self._labels = START, START
        self._verdicts: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        """By prompt and judge: 1 for each turn that it passes, 0 for others."""
        self._turns: dict[tuple[str, str], tuple[int, int]] = {}
        """Version and event time of each sampled turn, by prompt and id."""
        self._seen: dict[str, str] = {}

    def step(self) -> list[Signal]:
        """Write the signals of the windows that matured since."""
        if not any(self._judges.values()):
            return []
        written = []
        for prompt, judges in self._judges.items():
            seen = self._seen.get(prompt)
            new = newest_until(
                self._workspace.metadata, WindowReport, partial(_is, seen), model=prompt, stage="matured"
            )
            if not judges or not new:
                continue
            self._read()
            self._seen[prompt] = new[0].id
            for window in reversed(new):
                if window.role == "champion":
                    written += [s for judge in judges if (s := self._signal(window, judge)) is not None]
        return written

    def _read(self) -> None:
        log = self._workspace.predictions
        while (found := log.read_labels(self._labels, limit=BLOCK_ROWS))[0].num_rows:
            table, self._labels = found
            for row in table.filter(pc.starts_with(table["name"], JUDGE)).to_pylist():
                name = row["name"].removeprefix(JUDGE).partition("@")[0]
                judge = judge_of(self._workspace, row["model"], name)
                if judge is not None and row["name"] == f"{JUDGE}{name}@{judge.version}" and row["label"] is not None:
                    self._verdicts[row["model"], name][row["prediction_id"]] = 1.0 - row["label"]
        share = self._workspace.project.policy.llm.judge.sample
        prompts = pa.array([name for name, judges in self._judges.items() if judges], pa.string())
        while (found := log.read(self._rows, limit=BLOCK_ROWS))[0].num_rows:
            table, self._rows = found
            own = table.filter(pc.and_(pc.is_in(table["model"], value_set=prompts), table["served"]))
            at = own["event_time"].cast(pa.int64()).to_pylist()
            columns = (own[name].to_pylist() for name in ("model", "prediction_id", "version"))
            for model, id_, version, time in zip(*columns, at, strict=True):
                if is_sampled(id_, share):
                    self._turns[model, id_] = (version, time)

    def _signal(self, window: WindowReport, judge: Judge) -> Signal | None:
        start, end = to_micros(window.start), to_micros(window.end)
        verdicts = [
            value
            for id_, value in self._verdicts[window.model, judge.name].items()
            if (turn := self._turns.get((window.model, id_))) is not None
            and turn[0] == window.version
            and start <= turn[1] < end
        ]
        of = VersionWindow(
            model=window.model, version=window.version, span=Span(start, end, 1), now=self._workspace.now()
        )
        subject = f"{SUBJECT}{judge.name}"
        if not verdicts or self._is_written(f"{of.id}/quality/{subject}"):
            return None
        standing, passed = judge_standing(self._workspace, judge), float(np.mean(verdicts))
        share = standing.share(np.array(verdicts)[:, None])
        effect: dict[str, Any] = {"judge_share": passed}
        said = f"the judge passes {passed:.1%} of {len(verdicts)} turns"
        if share is not None:
            half = (share.high - share.low) / 2
            effect |= {"half_width": half, "low": share.low, "high": share.high}
            said += f"; people would pass {share.value:.1%}, give or take {half:.1%}"
        else:
            said += f"; it is not corrected: {standing.refused or 'no verdicts of people are known'}"
        signal = of.signal(
            "quality",
            subject=subject,
            statistic="share of the sampled turns that pass",
            value=passed if share is None else share.value,
            effect=effect,
            rows=len(verdicts),
            reason=said,
        )
        self._workspace.metadata.put(signal)
        return signal

    def _is_written(self, id_: str) -> bool:
        try:
            self._workspace.metadata.get(Signal, id_)
        except NotFound:
            return False
        return True


def _is(id_: str | None, window: WindowReport) -> bool:
    return window.id == id_
