"""What the reasons say of a difference: how sure it is, how large, and whether it is over."""

from __future__ import annotations

import msgspec

from trimtab.control.cause import Cause
from trimtab.control.drift_reasons import drift_reasons
from trimtab.records.monitoring import Signal
from trimtab.testing.judged import signal, window_report

WINDOW = window_report()


def with_effect(found: Signal, **effect: float) -> Signal:
    return msgspec.structs.replace(found, effect=effect)


def inputs(*, p: float, p_seq: float, times: float | None = None) -> str:
    data = signal(WINDOW, "data", p=p, p_seq=p_seq, carriers=("wind",))
    column = signal(WINDOW, "data", p=p, subject="wind")
    if times is not None:
        data = with_effect(data, times_usual=times)
        column = with_effect(
            column,
            times_usual=times,
            max_share_moved=0.41,
            max_share_moved_usual=0.12,
            psi=4.25,
            psi_usual=3.9,
            wasserstein_sd=0.8,
            wasserstein_sd_usual=0.3,
        )
    return drift_reasons(Cause(window=WINDOW, signals=(data, column)))[0]


SIZE = "; furthest is wind: 41% of its rows moved where 12% are usual, PSI 4.2 where 3.9 is, by 0.8 sd where 0.3 is"


def test_inputs_that_differ_are_told_with_the_size_against_a_usual_day() -> None:
    assert inputs(p=0.001, p_seq=0.004, times=3.0) == (
        f"inputs differ from the 60 reference windows (p_seq 0.004, most in wind){SIZE}"
    )


def test_a_change_that_is_over_was_and_is_not() -> None:
    assert inputs(p=0.4, p_seq=0.004, times=0.9) == (
        f"inputs were different from the 60 reference windows (p_seq 0.004); this window is not (p 0.4){SIZE}"
    )
    assert inputs(p=0.4, p_seq=0.004, times=1.6).startswith("inputs differ"), "far, although the day may be ordinary"
    assert inputs(p=0.049, p_seq=0.004, times=0.9).startswith("inputs differ")


def test_inputs_that_are_far_never_look_like_the_reference_however_large_p_is() -> None:
    assert inputs(p=0.9, p_seq=1.0, times=1.6).startswith("inputs are far from the 60 reference windows, but no change")
    assert inputs(p=0.9, p_seq=1.0, times=1.6).endswith(SIZE)
    assert inputs(p=0.9, p_seq=1.0, times=1.5) == f"inputs look like the 60 reference windows (p_seq 1){SIZE}"


def test_signals_of_earlier_releases_have_no_sizes() -> None:
    assert inputs(p=0.9, p_seq=0.5) == "inputs look like the 60 reference windows (p_seq 0.5)"


def test_answers_and_mistakes_were_or_are() -> None:
    def said(*, p: float, times: float, rise: float) -> list[str]:
        score = with_effect(
            signal(WINDOW, "prediction", p=p, p_seq=0.01),
            times_usual=times,
            max_share_moved=0.3,
            max_share_moved_usual=0.1,
        )
        concept = with_effect(signal(WINDOW, "concept", p=p, p_seq=0.02), rise_sd=rise)
        return drift_reasons(Cause(window=WINDOW, signals=(score, concept)))[1:]

    assert said(p=0.3, times=0.8, rise=0.2) == [
        "the model's answers were spread differently than in the reference (p_seq 0.01); in this window they are not "
        "(p 0.3); 30% moved where 10% are usual",
        "mistakes were more than the model expects (p_seq 0.02, 900 labels); in this window they are not (p 0.3)",
    ]
    assert said(p=0.01, times=3.0, rise=4.0) == [
        "the model's answers are spread differently than in the reference (p_seq 0.01; 30% moved where 10% are usual)",
        "mistakes are more than the model expects (p_seq 0.02, 900 labels)",
    ]
    assert said(p=0.3, times=0.8, rise=1.0)[1].startswith("mistakes are more")
