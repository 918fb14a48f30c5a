"""What wrk prints is read as it is meant, and a promise is held or missed by its own bound."""

import pytest
from benchmarks.serving.load import Figures, middle, read
from benchmarks.serving.peers.catalog import NAMES, VENVS, peer
from benchmarks.serving.promises import Promise
from benchmarks.serving.shadow import slowest_by_chance

PRINTED = """\
Running 1s test @ http://127.0.0.1:8080/predict
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.65ms    2.10ms  31.20ms   92.10%
    Req/Sec     6.91k   601.00     7.80k    70.00%
  Latency Distribution
     50%    4.31ms
     75%  990.00us
     90%    5.60ms
     99%    1.20s
  6900 requests in 1.00s, 1.20MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
  Non-2xx or 3xx responses: 4
Requests/sec:   6898.21
Transfer/sec:      1.20MB
"""


def test_figures_come_from_what_wrk_prints() -> None:
    figures = read(PRINTED, cpu_s=0.69)

    assert figures == Figures(
        requests=6900, per_second=6898.21, p50_ms=4.31, p99_ms=1200, failed=7, cpu_us=figures.cpu_us
    )
    assert figures.cpu_us == pytest.approx(100)


def test_a_run_without_errors_has_no_failures() -> None:
    quiet = "\n".join(line for line in PRINTED.splitlines() if "errors" not in line and "Non-2xx" not in line)

    assert read(quiet, cpu_s=0).failed == 0


def test_failures_are_added_up_over_rounds_and_the_rest_is_the_median() -> None:
    one = read(PRINTED, cpu_s=0.69)

    assert middle([one, one, one]).failed == 21
    assert middle([one, one, one]).per_second == one.per_second


@pytest.mark.parametrize(("value", "at_least", "held"), [(6.0, True, True), (5.9, True, False), (6.0, False, True)])
def test_a_promise_is_held_up_to_its_bound(value: float, at_least: bool, held: bool) -> None:
    assert Promise(text="", value=value, bound=6.0, at_least=at_least).held is held


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_has_exact_requirements(name: str) -> None:
    folder = VENVS.parent / "benchmarks" / "serving" / "peers" / name.partition("+")[0]

    assert (folder / "requirements.txt").read_text().startswith("#")
    assert "==" in (folder / "requirements.txt").read_text()


def test_an_unknown_peer_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(KeyError):
        peer("nobody", tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize(("ranks", "chance"), [([3, 3, 3], 1 / 27), ([1, 1], 1.0), ([2, 3], 3 / 9), ([], 1.0)])
def test_a_shadow_that_is_always_slowest_is_so_by_chance_seldom(ranks: list[int], chance: float) -> None:
    assert slowest_by_chance(ranks) == pytest.approx(chance)
