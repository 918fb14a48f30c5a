"""What the signals of a window say, in words: how sure a difference is, how large, and whether it is still there.

A sequential p-value stays low for some windows after a change is over, and it stays high where the reference windows
differ so much that nothing can be sure. So the sentences give the size of the difference, too.
"""

from __future__ import annotations

import math

from trimtab.control.cause import Cause
from trimtab.records.monitoring import LEARNT, Signal

DRIFT_P = 0.05
"""Below this p-value the reasons name a difference."""
FAR = 1.5
"""A window is far from the reference when it is so many times as far as 95 % of the reference windows."""


def drift_reasons(cause: Cause) -> list[str]:
    """Return one sentence for each kind of signal."""
    found = []
    data, score, concept = cause.signal("data"), cause.signal("prediction"), cause.signal("concept")
    learnt = next((s for s in cause.signals if s.kind in ("quality", "concept") and s.reason == LEARNT), None)
    if learnt is not None and data is None:
        found.append(f"nothing is compared yet: this is {LEARNT}")
    elif data is None or data.p_seq is None:
        found.append(
            f"inputs of version {cause.window.version} were not compared: it served a part of the window only, "
            "or has no reference for windows of this length"
        )
    else:
        found.append(_inputs(cause, data, data.p_seq))
    if score is not None and score.p_seq is not None and score.p_seq < DRIFT_P:
        found.append(_answers(score, score.p_seq))
    if concept is None or concept.p_seq is None:
        found.append(_unjudged(cause))
    else:
        found.append(_mistakes(cause, concept, concept.p_seq))
    found += [_segment(s, s.p_seq) for s in cause.segments if s.p_seq is not None and s.p_seq < DRIFT_P]
    found += [f"KPI on {s.start:%Y-%m-%d}: {s.reason}" for s in cause.kpis]
    return found


def _inputs(cause: Cause, data: Signal, p_seq: float) -> str:
    which = f" ({data.compared_with})" if data.compared_with else ""
    windows, size = f"the {data.reference_windows} reference windows{which}", _size(cause)
    if p_seq < DRIFT_P:
        carriers = f", most in {', '.join(data.carriers)}" if data.carriers else ""
        if _is_over(data):
            return (
                f"inputs were different from {windows} (p_seq {p_seq:.2g}); this window is not (p {data.p:.2g}){size}"
            )
        return f"inputs differ from {windows} (p_seq {p_seq:.2g}{carriers}){size}"
    if data.effect.get("times_usual", 0.0) > FAR:
        return (
            f"inputs are far from {windows}, but no change is sure (p_seq {p_seq:.2g}): either it is new, or these "
            f"windows differ as much{size}"
        )
    return f"inputs look like {windows} (p_seq {p_seq:.2g}){size}"


def _size(cause: Cause) -> str:
    """Return the size of the change of the column that is furthest from what is usual for it."""
    columns = [s for s in cause.signals if s.kind == "data" and "times_usual" in s.effect and s.subject != "all"]
    if not columns:
        return ""
    furthest = max(columns, key=lambda s: s.effect["times_usual"])
    effect = furthest.effect
    said = [
        f"{effect['max_share_moved']:.0%} of its rows moved where {effect['max_share_moved_usual']:.0%} are usual",
        f"PSI {effect['psi']:.2g} where {effect['psi_usual']:.2g} is",
    ]
    if "wasserstein_sd" in effect and "wasserstein_sd_usual" in effect:
        said.append(f"by {effect['wasserstein_sd']:.2g} sd where {effect['wasserstein_sd_usual']:.2g} is")
    return f"; furthest is {furthest.subject}: {', '.join(said)}"


def _segment(segment: Signal, p_seq: float) -> str:
    beyond = segment.value - segment.effect.get("expected", 0.0)
    return (
        f"mistakes of segment {segment.subject} are more than the model expects (p_seq {p_seq:.2g} over "
        f"{segment.effect.get('segments', 1):.0f} segments; loss {beyond:+.3g} beyond usual on {segment.rows:,} labels)"
    )


def _is_over(signal: Signal) -> bool:
    """Return True if the window is an ordinary one, although the ones before it were not."""
    return signal.p is not None and signal.p >= DRIFT_P and signal.effect.get("times_usual", math.inf) <= FAR


def _answers(score: Signal, p_seq: float) -> str:
    moved = ""
    if "max_share_moved_usual" in score.effect:
        effect = score.effect
        moved = f"; {effect['max_share_moved']:.0%} moved where {effect['max_share_moved_usual']:.0%} are usual"
    if _is_over(score):
        return (
            f"the model's answers were spread differently than in the reference (p_seq {p_seq:.2g}); in this window "
            f"they are not (p {score.p:.2g}){moved}"
        )
    return f"the model's answers are spread differently than in the reference (p_seq {p_seq:.2g}{moved})"


def _mistakes(cause: Cause, concept: Signal, p_seq: float) -> str:
    figures = f"(p_seq {p_seq:.2g}, {cause.window.labelled:,} labels)"
    if p_seq >= DRIFT_P:
        return f"mistakes are as usual {figures}"
    ordinary = concept.p is not None and concept.p >= DRIFT_P
    if ordinary and concept.effect.get("rise_sd", 1.0) < 1:
        return f"mistakes were more than the model expects {figures}; in this window they are not (p {concept.p:.2g})"
    return f"mistakes are more than the model expects {figures}"


def _unjudged(cause: Cause) -> str:
    """Say why mistakes were not judged."""
    window = cause.window
    if window.labelled == 0:
        return f"labels are too few to judge mistakes ({window.coverage:.0%} of the rows have one)"
    return (
        f"mistakes of version {window.version} were not judged: it served a part of the window only, or has no "
        "reference with labels"
    )
