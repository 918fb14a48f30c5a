"""What a worker counts, leaves for the others, and shows to Prometheus."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from trimtab.clock import ManualClock
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import Variant
from trimtab.serving.core.tally import FIRST_SCORES
from trimtab.serving.core.worker_metrics import FOLD_ROWS, FORGET_US, Metrics
from trimtab.serving.telemetry.counts_folder import SnapshotFolder, read_all
from trimtab.stats.distinct_counts import distinct
from trimtab.stats.gateway_counts import VariantKey, difference, latency_quantile

Packer = Callable[..., LoadedBundle]
CHAMPION = VariantKey("delay", 1, "champion", True)


@pytest.fixture
def variant(pack: Packer) -> Variant:
    return Variant("champion", pack(), 100)


@pytest.fixture
def regression(pack: Packer) -> Variant:
    return Variant("champion", pack(task="regression", scores=(1.0, 2.0)), 100)


def part(
    variant: Variant, *scores: float, latency_us: int = 400, error: str | None = None, served: bool = True
) -> RowGroup:
    """Return one request's rows as they are when they were scored."""
    work = InFlightRequest(
        table=None,  # type: ignore[arg-type]  # nothing that counts looks at it
        variants=[variant] * len(scores),
        columns={},
        features=None,
        ids=["x"] * len(scores),
        at=[0] * len(scores),
        entities=[None] * len(scores),
        received_ns=0,
        rows=len(scores),
    )
    return RowGroup(work, variant, None, served=served, scores=list(scores), error=error, latency_us=latency_us)


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return float(found)


def test_rows_errors_scores_and_latencies_are_counted(variant: Variant) -> None:
    metrics = Metrics()
    metrics.count_groups([part(variant, 0.1, 0.1), part(variant, 0.97, latency_us=60), part(variant, 0.97)])
    metrics.count_groups([part(variant, float("nan"), float("inf"), 0.5, error="bad", latency_us=40_000_000)])
    counts = metrics.snapshot().variants[CHAMPION]
    assert (counts.requests, counts.failed, counts.rows, counts.errors, counts.non_finite) == (4, 1, 7, 3, 2)
    assert counts.seconds == pytest.approx(40.00086)
    assert {place: n for place, n in enumerate(counts.latency) if n} == {1: 1, 4: 2, 25: 1}
    assert {place: n for place, n in enumerate(counts.scores) if n} == {1: 2, 9: 1, 19: 2}
    assert metrics.snapshot().batch_rows == 7


def test_answers_and_comparisons_are_kept_apart(variant: Variant) -> None:
    metrics = Metrics()
    metrics.count_groups([part(variant, 0.1)])
    metrics.count_groups([part(variant, 0.1, 0.2, served=False)])
    variants = metrics.snapshot().variants
    assert {key.served: counts.rows for key, counts in variants.items()} == {True: 1, False: 2}
    assert sum(metrics.snapshot().batches) == 1


def test_the_run_of_one_score_ends_with_another(variant: Variant) -> None:
    metrics = Metrics()

    def run(*scores: float) -> int:
        metrics.count_groups([part(variant, *scores)])
        return metrics.snapshot().variants[CHAMPION].run

    assert [run(0.5, 0.5), run(0.5), run(0.5, 0.4, 0.4), run(0.3), run(0.3, float("nan"))] == [2, 3, 2, 1, 2]


def with_inputs(variant: Variant, score: float, *inputs: float) -> RowGroup:
    """Return one request's rows that all got one score."""
    made = part(variant, *[score] * len(inputs))
    made.vectors = np.array(inputs, dtype=np.float32).reshape(-1, 1)
    return made


def test_the_inputs_of_a_run_are_told_apart(variant: Variant) -> None:
    metrics = Metrics(tell_inputs=True)

    def inputs(*parts: RowGroup) -> int:
        metrics.count_groups(parts)
        return distinct(metrics.snapshot().variants[CHAMPION].run_inputs)

    assert inputs(with_inputs(variant, 0.5, 1, 1), with_inputs(variant, 0.5, 1)) == 1
    assert inputs(with_inputs(variant, 0.5, 2, 1), with_inputs(variant, 0.5, 3)) == 3
    # another score begins another run, also in the middle of what is folded together
    assert inputs(with_inputs(variant, 0.5, 4, 5), with_inputs(variant, 0.4, 1, 2), with_inputs(variant, 0.4, 2)) == 2
    # a score that is no number neither counts nor ends it
    broken = part(variant, float("nan"))
    broken.vectors = np.array([[9]], dtype=np.float32)
    assert inputs(broken, with_inputs(variant, 0.4, 7), broken) == 3


def test_an_input_that_two_workers_saw_counts_once(variant: Variant, tmp_path: Path) -> None:
    one, two = (Metrics(tmp_path, worker=name, tell_inputs=True) for name in "ab")
    one.count_groups([with_inputs(variant, 0.5, 1, 2)])
    two.count_groups([with_inputs(variant, 0.5, 2, 3)])
    one.save()
    assert distinct(two.merged().variants[CHAMPION].run_inputs) == 3
    # and a successor goes on with what its predecessor saw
    after = Metrics(tmp_path, worker="a", tell_inputs=True)
    after.count_groups([with_inputs(variant, 0.5, 1)])
    assert distinct(after.snapshot().variants[CHAMPION].run_inputs) == 2


def test_inputs_are_kept_only_where_they_are_told_apart(variant: Variant) -> None:
    metrics = Metrics()
    metrics.count_groups([with_inputs(variant, 0.5, 1, 2)])
    counts = metrics.snapshot().variants[CHAMPION]
    assert (counts.run, counts.run_inputs) == (2, [])


def test_folding_by_itself_changes_nothing(variant: Variant) -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.count_groups([part(variant, *([0.2] * FOLD_ROWS))])
    counts = metrics.snapshot().variants[CHAMPION]
    assert (counts.rows, counts.requests, counts.run, counts.scores[3]) == (
        3 * FOLD_ROWS,
        3,
        3 * FOLD_ROWS,
        3 * FOLD_ROWS,
    )
    assert sum(counts.scores) == 3 * FOLD_ROWS


def test_a_regression_s_bins_come_from_its_first_scores(regression: Variant) -> None:
    metrics = Metrics()
    metrics.count_groups([part(regression, *range(FIRST_SCORES - 1))])
    assert metrics.snapshot().variants[CHAMPION].borders == ()
    metrics.count_groups([part(regression, 999.0)])
    counts = metrics.snapshot().variants[CHAMPION]
    assert len(counts.borders) == 19
    assert counts.scores == [50] * 20
    metrics.count_groups([part(regression, *np.full(30, 5e9).tolist())])
    assert metrics.snapshot().variants[CHAMPION].scores[-1] == 80


def test_a_regression_s_bins_may_be_given(regression: Variant) -> None:
    metrics = Metrics()
    metrics.set_borders("delay", (10.0, 20.0))
    metrics.count_groups([part(regression, 10.0, 11.0, 21.0, 22.0)])
    assert metrics.snapshot().variants[CHAMPION].scores == [1, 1, 2]


def test_a_constant_regression_has_bins_as_well(regression: Variant) -> None:
    metrics = Metrics()
    metrics.count_groups([part(regression, *([7.0] * 1000))])
    counts = metrics.snapshot().variants[CHAMPION]
    assert (counts.borders, counts.scores, counts.run) == ((7.0,), [1000, 0], 1000)


def test_all_workers_take_the_same_bins(regression: Variant, tmp_path: Path) -> None:
    one, two = Metrics(tmp_path, worker="1"), Metrics(tmp_path, worker="2")
    one.count_groups([part(regression, *range(1000))])
    two.count_groups([part(regression, *range(5000, 6000))])
    borders = one.snapshot().variants[CHAMPION].borders
    assert two.snapshot().variants[CHAMPION].borders == borders
    assert two.merged().variants[CHAMPION].borders == borders


def test_every_worker_shows_the_sum_of_all(variant: Variant, tmp_path: Path) -> None:
    workers = [Metrics(tmp_path, worker=name) for name in "abc"]
    for rows, metrics in enumerate(workers, start=1):
        metrics.count_groups([part(variant, *([0.5] * rows))])
        metrics.counts.labels += 10
        metrics.save()
    for metrics in workers:
        assert value(metrics.text(), "trimtab_predictions_total", role="champion") == 6
        assert value(metrics.text(), "trimtab_labels_total") == 30
        assert value(metrics.text(), "trimtab_workers") == 3


def test_a_successor_goes_on_from_its_predecessor(variant: Variant, tmp_path: Path) -> None:
    before = Metrics(tmp_path, worker="a")
    before.count_groups([part(variant, 0.5, 0.5)])
    before.counts.labels, before.counts.shed, before.counts.gap_rows, before.counts.comparison_dropped = 4, 3, 2, 1
    before.begin()
    before.begin()
    before.end("open_inference", 200, time.perf_counter_ns())
    before.flushed(0.02)
    before.fall_back("delay", "slow", 5)
    before.refuse(400)
    before.save()  # and is killed
    old = before.snapshot()
    after = Metrics(tmp_path, worker="a")
    after.count_groups([part(variant, 0.5)])
    new = after.snapshot()
    assert new.variants[CHAMPION].rows == 3
    assert new.variants[CHAMPION].run == 3
    assert (new.labels, new.shed, new.gap_rows, new.comparison_dropped) == (4, 3, 2, 1)
    assert new.requests == {("open_inference", 200): 1}
    assert new.fallbacks == {("delay", "slow"): 5}
    assert new.refused == {400: 1}
    assert sum(new.log_lags) == 1
    assert new.cpu_seconds >= old.cpu_seconds
    assert new.state.in_progress == 0


def test_a_successor_that_was_there_before_the_end_of_its_predecessor_goes_on_as_well(
    variant: Variant, tmp_path: Path
) -> None:
    before = Metrics(tmp_path, worker="a")
    before.count_groups([part(variant, 0.5)])
    before.save()
    after = Metrics(tmp_path, worker="a")
    before.count_groups([part(variant, 0.5)])
    before.counts.labels += 2
    before.close()
    after.resume()
    after.count_groups([part(variant, 0.5)])
    assert (after.snapshot().variants[CHAMPION].rows, after.snapshot().labels) == (3, 2)


def test_a_batch_of_answers_and_comparisons(variant: Variant) -> None:
    metrics = Metrics()
    metrics.count_groups([part(variant, 0.1), part(variant, 0.2, 0.3, served=False), part(variant, 0.4, served=True)])
    variants = metrics.snapshot().variants
    assert {key.served: counts.rows for key, counts in variants.items()} == {True: 2, False: 2}
    assert metrics.snapshot().batch_rows == 2


def test_what_was_shown_is_never_forgotten(variant: Variant, tmp_path: Path) -> None:
    first = Metrics(tmp_path, worker="a")
    first.count_groups([part(variant, 0.5)])
    assert value(first.text(), "trimtab_predictions_total") == 1
    assert value(Metrics(tmp_path, worker="a").text(), "trimtab_predictions_total") == 1


def test_counts_that_an_earlier_version_saved_go_on(variant: Variant, tmp_path: Path) -> None:
    saved = {"lanes": {CHAMPION: {"requests": 2, "rows": 3}}, "turns": [1, 0, 1] + [0] * 9, "turn_rows": 3}
    (tmp_path / "a.counts").write_bytes(msgspec.msgpack.encode(saved))
    metrics = Metrics(tmp_path, worker="a")
    metrics.count_groups([part(variant, 0.5)])
    metrics.save()
    written = msgspec.msgpack.decode((tmp_path / "a.counts").read_bytes())
    assert (written["turn_rows"], written["turns"][:3], len(written["lanes"])) == (4, [2, 0, 1], 1)
    assert read_all(tmp_path).variants[CHAMPION].rows == 4


def test_the_guard_sees_what_happened_between_two_looks(variant: Variant, tmp_path: Path) -> None:
    workers = [Metrics(tmp_path, worker=name) for name in "ab"]
    for metrics in workers:
        metrics.count_groups([part(variant, 0.2, latency_us=100)])
        metrics.save()
    old = read_all(tmp_path)
    for metrics in workers:
        metrics.count_groups([part(variant, 0.9, latency_us=9_000) for _ in range(99)])
        metrics.count_groups([part(variant, 0.9, latency_us=9_000, error="x")])
        metrics.save()
    found = difference(read_all(tmp_path), old).variants[CHAMPION]
    assert (found.rows, found.errors, found.run) == (200, 2, 200)
    assert 0.007 < latency_quantile(found, 0.99) <= 0.010
    assert {place: n for place, n in enumerate(found.scores) if n} == {17: 200}


def test_a_file_that_is_damaged_is_left_out(variant: Variant, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(tmp_path, worker="a")
    metrics.counts.labels = 2
    (tmp_path / "b.counts").write_bytes(b"\x93\x01")
    assert metrics.merged().labels == 2
    assert "b.counts cannot be read" in caplog.text
    assert Metrics(tmp_path, worker="b").counts.labels == 0


def test_a_folder_that_is_gone_does_not_stop_the_counting(
    variant: Variant, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics(tmp_path / "counts", worker="a")
    metrics.count_groups([part(variant, 0.5)])
    shutil.rmtree(tmp_path / "counts")
    metrics.save()
    assert "the counts cannot be saved" in caplog.text
    assert metrics.snapshot().variants[CHAMPION].rows == 1


def test_versions_that_score_no_more_are_forgotten(pack: Packer, tmp_path: Path) -> None:
    clock = ManualClock()
    metrics = Metrics(tmp_path, worker="a", clock=clock)
    old, new = (Variant("champion", pack(version), 100) for version in (1, 2))
    metrics.count_groups([part(old, 0.5)])
    metrics.save()
    clock.sleep(timedelta(microseconds=FORGET_US).total_seconds() + 1)
    metrics.count_groups([part(new, 0.5)])
    metrics.save()
    found = SnapshotFolder(tmp_path).read("a")
    assert found is not None
    assert [key.version for key in found.variants] == [2]
    metrics.count_groups([part(old, 0.5)])
    assert [counts.rows for counts in metrics.snapshot().variants.values()] == [1, 1]


def test_saving_goes_on_until_it_is_cancelled(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.serving.core.worker_metrics.SAVE_S", 0.0)
    metrics = Metrics(tmp_path, worker="a")
    metrics.counts.labels = 5

    async def run() -> None:
        saving = asyncio.create_task(metrics.keep_saving())
        while (found := SnapshotFolder(tmp_path).read("a")) is None or found.labels != 5:
            await asyncio.sleep(0)
        saving.cancel()

    asyncio.run(run())
    metrics.begin()
    metrics.close()
    found = SnapshotFolder(tmp_path).read("a")
    assert found is not None
    assert (found.state.workers, found.state.in_progress) == (0, 0)


def busy(variant: Variant, folder: Path | None = None) -> Metrics:
    """Return metrics with something in each of them."""
    metrics = Metrics(folder)
    metrics.count_groups([part(variant, 0.1, 0.2, latency_us=1500), part(variant, 0.9, error="bad")])
    metrics.count_groups([part(variant, 0.3, served=False)])
    for status in (200, 200, 400):
        metrics.begin()
        metrics.end("open_inference", status, time.perf_counter_ns())
    metrics.begin()
    metrics.refuse(400)
    metrics.fall_back("delay", "slow", 2)
    metrics.flushed(0.004)
    metrics.rows_waiting = 3
    return metrics


def test_prometheus_reads_the_text(variant: Variant) -> None:
    text = busy(variant).text()
    found = families(text)
    labels = {"model": "delay", "version": "1", "role": "champion"}
    assert found["trimtab_predictions"].type == "counter"
    assert found["trimtab_prediction_latency_seconds"].type == "histogram"
    assert value(text, "trimtab_predictions_total", served="true", **labels) == 3
    assert value(text, "trimtab_prediction_errors_total", served="true", **labels) == 1
    assert value(text, "trimtab_prediction_latency_seconds_bucket", le="0.001", served="true", **labels) == 1
    assert value(text, "trimtab_prediction_latency_seconds_sum", served="true", **labels) == pytest.approx(0.0019)
    assert value(text, "trimtab_prediction_score_bucket", le="0.2", served="true", **labels) == 2
    assert value(text, "trimtab_requests_total", protocol="open_inference", status="200") == 2
    assert value(text, "trimtab_request_duration_seconds_count", protocol="open_inference") == 3
    assert value(text, "trimtab_refused_requests_total", status="400") == 1
    assert value(text, "trimtab_requests_in_progress") == 1
    assert value(text, "trimtab_rows_waiting") == 3
    assert value(text, "trimtab_fallbacks_total", model="delay", reason="slow") == 2
    assert value(text, "trimtab_log_lag_seconds_bucket", le="0.01") == 1
    assert value(text, "trimtab_turn_rows_bucket", le="4.0") == 1
    assert value(text, "trimtab_resident_memory_bytes") > 1e6


def test_dashboards_of_other_servers_find_their_names(variant: Variant) -> None:
    text = busy(variant).text()
    assert value(text, "request_predict_seconds_count", model_name="delay") == 2
    assert value(text, "model_infer_request_success_total", model="delay", version="1") == 1
    assert value(text, "model_infer_request_failure_total", model="delay", version="1") == 1
    assert value(text, "model_infer_request_duration_sum", model="delay", version="1") == pytest.approx(0.0019)
    assert value(text, "nv_inference_request_success", model="delay", version="1") == 1
    assert value(text, "nv_inference_count", model="delay", version="1") == 2
    assert value(text, "nv_inference_request_duration_us", model="delay", version="1") == 1900


def test_a_scraper_that_asks_for_openmetrics_gets_it(variant: Variant) -> None:
    body, content_type = busy(variant).expose("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith(b"application/openmetrics-text; version=1.0.0")
    parse: Any = openmetrics_parser.text_string_to_metric_families  # it has no types
    found = {family.name for family in parse(body.decode())}
    assert {"trimtab_predictions", "trimtab_prediction_score", "request_predict_seconds"} <= found


def test_a_gateway_that_has_done_nothing_has_metrics() -> None:
    body, content_type = Metrics().expose()
    assert content_type == b"text/plain; version=0.0.4; charset=utf-8"
    assert value(body.decode(), "trimtab_labels_total") == 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(variant: Variant) -> None:
    found = subprocess.run(["promtool", "check", "metrics"], input=busy(variant).text(), text=True, capture_output=True)
    own = [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("trimtab_")]
    assert own == []


def test_a_batch_is_counted_in_few_steps(variant: Variant) -> None:
    """No figure, but a bound that a change of method would break: sorting is left to the folds."""
    metrics = Metrics()
    batch = [part(variant, 0.5)] * 32
    metrics.count_groups(batch)
    assert metrics.counts.variants[CHAMPION].rows == 0
    assert metrics.snapshot().variants[CHAMPION].rows == 32


def test_answers_that_came_too_late_are_counted_with_their_latency(variant: Variant) -> None:
    metrics = Metrics()
    late = part(variant, 0.5, latency_us=400_000, served=False)
    late.overdue = True
    metrics.count_groups([late, part(variant, 0.5, latency_us=400_000, served=False)])
    counts = metrics.snapshot().variants[VariantKey("delay", 1, "champion", False)]
    assert (sum(counts.late), sum(counts.latency), counts.requests) == (1, 2, 2)
