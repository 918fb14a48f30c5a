"""The detectors of one version, which keep their state between windows.

After a restart the detectors are stepped again through the stored profiles and signals, which leads to the same state
bit for bit; detector_states.py keeps the state of some windows ago, so that only the last ones are stepped through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trimtab.bundle.prompt_spec import TURN_ANSWERS, TURN_INPUTS
from trimtab.clock import to_micros
from trimtab.errors import DataError
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.detection.absolute import AbsoluteRules, Finding
from trimtab.monitoring.detection.own_windows import OPERATIONS, Operation, OwnWindows
from trimtab.monitoring.detection.reference_windows import Mode, ReferenceWindows
from trimtab.monitoring.detection.segments import SegmentDetectors, of_effect
from trimtab.monitoring.event_windows import BEGINNING
from trimtab.monitoring.reference import Reference, missing_share
from trimtab.records.monitoring import Profile, Signal, is_output
from trimtab.records.record import SignalKind
from trimtab.stats.profile import ColumnProfile, WindowProfile
from trimtab.stats.sequential import DriftDetector
from trimtab.stats.smallest import SMALLEST, Smallest
from trimtab.stats.step import DriftStep
from trimtab.stats.upward_test import UpwardDetector, UpwardStep
from trimtab.stats.usual_sizes import UsualEffects
from trimtab.stores.metadata.contract import Metadata, newest_until

Kind = SignalKind | Literal["profile"]
KINDS: tuple[Kind, ...] = ("profile", "data", "prediction", "quality", *OPERATIONS, "concept")
"""Records that detectors are stepped through."""
DETECTORS: dict[str, type[DriftDetector] | type[UpwardDetector]] = {
    "inputs": DriftDetector,
    "score": DriftDetector,
    "missing": UpwardDetector,
    "excess": UpwardDetector,
}
FORMAT = 7
"""Format of the state; raise it when the state changes within a release."""

OF_OWN: tuple[Literal["missing", "excess"], ...] = ("missing", "excess")
"""What a prompt is compared in with its own first windows where its reference does not know it."""
MISSING_SD = 0.001
"""Smallest spread of the missing share between windows that counts."""


class VersionDetectors:
    """The detectors of one version. None where the reference gives nothing to compare with."""

    def __init__(
        self,
        reference: Reference,
        *,
        version: int,
        horizon: int,
        smallest: Smallest = SMALLEST,
        mode: Mode = "training",
        segments: Sequence[str] | None = None,
    ) -> None:
        self.reference = reference
        self.compared_with = ReferenceWindows(reference, mode)
        self._seed = version
        self._since = reference.end if reference.made_of == "own" else BEGINNING
        """Windows that began before are part of the reference."""
        self._horizon = horizon
        self._smallest = smallest
        self._features, self._outputs = _columns(reference)
        self._inputs = self._drift(self._features)
        self._score = self._drift(self._outputs)
        watched = bool(self._features) and reference.made_of == "training"
        self._missing = self._upward(reference.missing(), reference.rows, smallest_sd=MISSING_SD) if watched else None
        labelled = [w for w in reference.labelled if w is not None]
        self._excess = self._upward(reference.excess, [w.rows for w in labelled])
        self._own: dict[str, OwnWindows] = {
            name: OwnWindows(name, horizon=horizon, seed=version)
            for name in (OF_OWN if reference.task == CHAT else ())
            if (self._missing if name == "missing" else self._excess) is None
        }
        self.segments = SegmentDetectors(reference.segments, columns=segments, horizon=horizon, seed=version)
        self._searched = segments
        self._operations = {name: OwnWindows(name, horizon=horizon, seed=version) for name in OPERATIONS}
        self.absolute = AbsoluteRules(reference)
        self.usual_inputs, self.usual_score = self._usual()

    def inputs(self, profile: WindowProfile) -> DriftStep | None:
        """Judge the inputs of the next window."""
        return self._inputs.step(profile) if self._inputs else None

    def score(self, profile: WindowProfile) -> DriftStep | None:
        """Judge the scores of the next window."""
        return self._score.step(profile) if self._score else None

    def missing(self, share: float, rows: int) -> UpwardStep | None:
        """Judge the share of missing values of the next window."""
        if own := self._own.get("missing"):
            return own.step(share, rows)
        return self._missing.step(share, rows) if self._missing else None

    def excess(self, value: float, labels: int) -> UpwardStep | None:
        """Judge the mean loss beyond the expected one of the next matured window."""
        if own := self._own.get("excess"):
            return own.step(value, labels)
        return self._excess.step(value, labels) if self._excess else None

    def operation(self, name: Operation, value: float, rows: int) -> UpwardStep | None:
        """Judge how the next window ran against the version's own first 30; None for those.

        value: 99th percentile in ms, share of failed predictions, or money per 1,000 predictions.
        """
        return self._operations[name].step(value, rows)

    def finish(self, profile: WindowProfile, start: int) -> list[Finding]:
        """Return what the absolute rules find in the window that was judged, and keep it for later comparisons.

        start: of the window, in microseconds. Windows that a rule fires on are not kept.
        """
        found = self.absolute.step(profile, start)
        if not found and self.compared_with.take(profile, start):
            windows = self.compared_with.chosen
            self._inputs, self._score = (
                detector and detector.with_reference(windows) for detector in (self._inputs, self._score)
            )
            self.usual_inputs, self.usual_score = self._usual()
        return found

    @property
    def input_windows(self) -> int:
        """Reference windows of the inputs."""
        return self._inputs.reference_windows if self._inputs else 0

    @property
    def score_windows(self) -> int:
        """Reference windows of the score."""
        return self._score.reference_windows if self._score else 0

    @property
    def missing_windows(self) -> int:
        """Reference windows of the share of missing values."""
        own = self._own.get("missing")
        return self.reference.windows if own is None else own.windows

    def learns(self, what: Literal["missing", "excess"]) -> bool:
        """Return True if a value of the version's first windows is kept, which later ones are compared with."""
        return what in self._own

    @property
    def label_windows(self) -> int:
        """Reference windows with labels."""
        if own := self._own.get("excess"):
            return own.windows
        return self._excess.reference_windows if self._excess else 0

    def restore(self, metadata: Metadata, model: str, version: int, *, after: Mapping[str, int] | None = None) -> int:
        """Step through the windows that are stored; return how many.

        after: start (microseconds) of the last window, by kind of record, that the detectors know already.
        """
        done = after or {}

        def stored(kind: Kind) -> list[Any]:
            last = done.get(kind)
            found = newest_until(
                metadata,
                _type(kind),
                lambda record: last is not None and _counts(record) and to_micros(record.start) <= last,
                **_where(model, version, kind),
            )
            return sorted((r for r in found if _counts(r)), key=lambda r: r.start)

        data, prediction = ({s.start for s in stored(kind)} for kind in ("data", "prediction"))
        latencies = stored("latency")
        whole = {signal.start for signal in latencies}  # of other windows no latency is written, and nothing is judged
        judged = whole if self.reference.task == CHAT else data | prediction
        profiles = [
            profile for profile in stored("profile") if to_micros(profile.start) >= self._since and profile.rows
        ]
        for record in profiles:
            columns = {name: ColumnProfile.from_dict(column) for name, column in record.columns.items()}
            if record.start in data:
                self.inputs(columns)
            if record.start in prediction:
                self.score(columns)
            if record.start in judged:
                self.finish(columns, to_micros(record.start))
        for signal in stored("quality"):
            self.missing(signal.value, signal.rows)
        for name in OPERATIONS:
            for signal in latencies if name == "latency" else stored(name):
                if signal.start in whole:
                    self.operation(name, signal.value, signal.rows)
        for signal in stored("concept"):
            self.excess(signal.value, signal.rows)
            self.segments.step(of_effect(signal.effect))
        return len(profiles)

    def made_with(self, code: str) -> str:
        """Return a digest of all that the detectors depend on except the records. code: version of the program."""
        policy = f"{self._horizon} {self._smallest} {self.compared_with.mode} {self._searched}"
        about = f"{code} {FORMAT} {self._seed} {policy} ".encode()
        return hashlib.sha256(about + self.reference.to_json()).hexdigest()

    def state(self) -> dict[str, Any]:
        """Return the state of the detectors; `load` restores it in new ones of the same reference."""
        detectors = {name: getattr(self, f"_{name}") for name in DETECTORS}
        states = {name: None if found is None else found.state() for name, found in detectors.items()}
        about = {
            "absolute": self.absolute.state(),
            "compared_with": self.compared_with.state(),
            "segments": self.segments.state(),
        }
        operations = {name: found.state() for name, found in self._operations.items()}
        return {**states, **about, "operations": operations, "own": {n: own.state() for n, own in self._own.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        for name, kind in DETECTORS.items():
            setattr(self, f"_{name}", None if state[name] is None else kind.from_state(state[name]))
        for name, found in self._operations.items():
            found.load(state["operations"][name])
        for name, own in self._own.items():
            own.load(state["own"][name])
        self.absolute.load(state["absolute"])
        self.compared_with.load(state["compared_with"])
        self.segments.load(state["segments"])
        self.usual_inputs, self.usual_score = self._usual()

    def share_missing(self, profile: WindowProfile) -> float:
        """Return the share of missing feature values of a window."""
        return missing_share(profile, self.reference.names)

    def _usual(self) -> tuple[UsualEffects, UsualEffects]:
        """Return the effects of the inputs, and of the score, of ordinary windows."""
        schemes, windows = self.reference.schemes, self.compared_with.chosen
        inputs = UsualEffects.fit(windows, {name: schemes[name] for name in self._features})
        return inputs, UsualEffects.fit(windows, {name: schemes[name] for name in self._outputs})

    def _drift(self, columns: Sequence[str]) -> DriftDetector | None:
        schemes = {name: self.reference.schemes[name] for name in columns}
        if self.reference.made_of == "examples":
            return None
        try:
            return DriftDetector.fit(
                self.compared_with.chosen,
                schemes=schemes,
                horizon=self._horizon,
                seed=self._seed,
                smallest=self._smallest,
            )
        except DataError:  # too few windows, or no columns
            return None

    def _upward(
        self, values: Sequence[float], rows: Sequence[int], *, smallest_sd: float = 0.0
    ) -> UpwardDetector | None:
        try:
            return UpwardDetector.fit(values, rows, horizon=self._horizon, seed=self._seed, smallest_sd=smallest_sd)
        except DataError:  # too few windows
            return None


def _columns(reference: Reference) -> tuple[list[str], list[str]]:
    """Return the columns that are inputs, and those that are what a version gave."""
    if reference.task == CHAT:
        return [*TURN_INPUTS], [*TURN_ANSWERS]
    return list(reference.names), [name for name in reference.schemes if is_output(name)]


def newest_of(metadata: Metadata, model: str, version: int, kind: Kind) -> Profile | Signal | None:
    """Return the newest record of a kind that detectors are stepped through, or None."""
    limit = 1
    while True:
        found: Sequence[Any] = metadata.find(_type(kind), limit=limit, **_where(model, version, kind))
        mine = next((record for record in found if _counts(record)), None)
        if mine is not None or len(found) < limit:
            return mine
        limit *= 8


def _type(kind: Kind) -> type[Any]:
    return Profile if kind == "profile" else Signal


def _where(model: str, version: int, kind: Kind) -> dict[str, Any]:
    return {"model": model, "version": version} | ({} if kind == "profile" else {"kind": kind})


def _counts(record: Any) -> bool:
    """Return True if detectors are stepped through a record: columns and the guard have signals of their own."""
    return isinstance(record, Profile) or record.subject == "all"
