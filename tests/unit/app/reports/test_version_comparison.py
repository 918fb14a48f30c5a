"""Two versions in money, rates and segments, from the prediction log and the labels alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner, Result

from integration.gateway_project import GatewayProject
from trimtab.app.pages.comparison_report import comparison_page
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.comparison_result import VersionComparison
from trimtab.app.reports.version_comparison import compare_versions
from trimtab.app.reports.version_words import GAIN, GAIN_NOTE, advice
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.cli import look
from trimtab.clock import to_micros
from trimtab.errors import DefinitionError, StageError, UsageError
from trimtab.records.gate_reports import HeldOutWindow
from trimtab.records.record import Role
from trimtab.records.training import DatasetVersion
from trimtab.stats.metrics import metric_value
from trimtab.stats.paired_sequence import paired_bounds
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, dataset_record, gate_report, window_report
from trimtab.testing.predictions import label_rows, prediction_rows

Floats = npt.NDArray[np.float64]
COSTS = {"false_negative": 40.0, "false_positive": 20.0}
ROWS, DAYS = 60, 24


class World:
    """A project in which version 2 challenged version 1."""

    def __init__(self, folder: Path, *, dataset: DatasetVersion | None = None, **sections: Any) -> None:
        self.sections = sections
        self.project = GatewayProject(folder, **sections)
        self.workspace: Workspace = self.project.workspace
        policy, clock = self.workspace.project.policy.rollout, self.workspace.clock
        self.rollouts = Rollouts(self.workspace.metadata, policy, MODEL, clock)  # these bundles have no files
        self.workspace.metadata.put(dataset or dataset_record())
        for version in (1, 2):
            self.workspace.metadata.put(bundle_record(version))
        self.y = np.zeros(0)
        self.scores = np.zeros((2, 0))
        self.carrier: list[str] = []

    def serve(self, *versions: int) -> None:
        for version in versions:
            self.rollouts.deploy(bundle_record(version), cause=f"deploy {version}", reason="test", by="test")

    def play(self, days: int = DAYS, *, better: float = 0.3, unpaired: int = 40, role: Role = "challenger") -> None:
        """Log days of rows that both versions scored, and more that only the champion did; labels for all of them."""
        random = np.random.default_rng(0)
        for day in range(days):
            ids = [f"{day}-{n}" for n in range(ROWS + unpaired)]
            y = (random.random(len(ids)) < 0.3).astype(np.float64)
            noise = random.normal(0, 0.15, (2, len(ids)))
            scores = np.clip(0.3 + np.array([[0.3], [0.3 + better]]) * (y - 0.3) + noise, 0.1, 0.9)
            carrier = [str(c) for c in random.choice(["AA", "DL", "UA"], len(ids), p=[0.5, 0.3, 0.2])]
            at = [to_micros(FIRST + day * DAY) + n * 60_000_000 for n in range(len(ids))]
            entities = [[("carrier", c)] for c in carrier]
            log = self.workspace.predictions
            usual: dict[str, Any] = {"event_time": at, "entities": entities, "features": [[0.0, 0.0]] * len(ids)}
            log.append(prediction_rows(ids, **usual, version=[1] * len(ids), score=scores[0].tolist()))
            log.append(
                prediction_rows(
                    ids[:ROWS],
                    **{name: values[:ROWS] for name, values in usual.items()},
                    version=[2] * ROWS,
                    role=[role] * ROWS,
                    served=[False] * ROWS,
                    score=scores[1, :ROWS].tolist(),
                )
            )
            known = [time + 1 for time in at]
            log.append_labels(label_rows(ids, label=y.tolist(), known_at=known))
            losses = [metric_value("log_loss", y[:ROWS], s[:ROWS], threshold=0.5) for s in scores]
            found = {
                "paired_rows": float(ROWS),
                "paired_version": 1.0,
                "paired_log_loss_gain": losses[0] - losses[1],
            }
            self.workspace.metadata.put(window_report(day, version=2, role=role, metrics=found))
            self.y = np.concatenate([self.y, y[:ROWS]])
            self.scores = np.concatenate([self.scores, scores[:, :ROWS]], axis=1)
            self.carrier += carrier[:ROWS]
        self.workspace.predictions.sync()

    def compare(self, versions: tuple[int, int] | None = None) -> VersionComparison:
        return compare_versions(self.workspace, MODEL, versions)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(
        tmp_path / "project",
        impact={"cost": COSTS},
        gates={"bias": {"sensitive": ["carrier"], "max": 0.9}},
        rollout={"promote_when": {"min_labels": 100}},
    )
    yield made
    made.workspace.metadata.close()
    made.workspace.predictions.close()


def cost(y: Floats, score: Floats) -> Floats:
    yes = score >= 0.5
    found: Floats = 40.0 * ((y == 1) & ~yes) + 20.0 * ((y == 0) & yes)
    return found


def test_money_is_what_mistakes_cost_a_day_at_the_traffic_of_all_requests(world: World) -> None:
    world.serve(1, 2)
    world.play()
    found = world.compare()
    assert (found.version, found.against) == (2, 1)
    assert (found.windows, found.labels, found.predictions_per_day) == (DAYS, ROWS * DAYS, 100.0)
    own, other = (cost(world.y, s).reshape(DAYS, ROWS).mean(axis=1) * 100 for s in (world.scores[1], world.scores[0]))
    low, high = paired_bounds(other - own, held_out=0, max_windows=DAYS, confidence=0.975)
    assert found.money is not None
    assert found.money.value == pytest.approx(own.mean())
    assert found.money.against == pytest.approx(other.mean())
    assert found.money.gain == pytest.approx((other - own).mean())
    assert [found.money.low, found.money.high] == pytest.approx([float(low), float(high)])
    saved = f"Version 2 would have saved {(other - own).mean():,.0f} USD a day (95%: {low:,.0f} to {high:,.0f})"
    assert found.sentence.startswith(f"{saved} compared with version 1, measured on 1,440 predictions")
    assert [day.money for day in found.days] == pytest.approx((other - own).tolist())


def test_money_is_what_the_impact_function_says_where_the_model_has_one(world: World) -> None:
    def lost(y_true: Floats, y_score: Floats, row: Floats) -> Floats:
        return 100.0 * y_true * (y_score < 0.5) + row

    world.workspace.model(MODEL).impact(inputs=[world.workspace.model(MODEL).feature_names[0]])(lost)
    world.serve(1, 2)
    world.play()
    found = world.compare()
    own, other = (100.0 * ((world.y == 1) & (s < 0.5)).mean() * 100 for s in (world.scores[1], world.scores[0]))
    assert found.money is not None
    assert found.money.value == pytest.approx(own)
    assert found.money.against == pytest.approx(other)
    assert found.money.gain is not None
    assert found.money.gain > 0
    assert sum(day.rows for day in found.days) == found.labels


def test_the_impact_function_gets_the_names_of_categories(tmp_path: Path) -> None:
    seen: set[Any] = set()

    def lost(y_true: Floats, y_score: Floats, row: Any) -> Floats:
        seen.update(row.tolist())
        return y_true

    categories = {"row": ("AA", "DL")}
    world = World(tmp_path, dataset=msgspec.structs.replace(dataset_record(), feature_categories=categories))
    world.workspace.model(MODEL).impact(inputs=["row"])(lost)
    world.serve(1, 2)
    world.play(6)
    assert world.compare().money is not None
    assert seen == {"AA"}, "all rows have the code 0"
    world.workspace.metadata.close()
    world.workspace.predictions.close()


def test_metrics_and_rates_are_those_of_both_on_the_same_rows(world: World) -> None:
    world.serve(1, 2)
    world.play()
    found = {each.name: each for each in world.compare().measures}
    assert next(iter(found)) == "log_loss"
    for name in ("log_loss", "roc_auc", "brier", "accuracy"):
        own, other = (metric_value(name, world.y, s, threshold=0.5) for s in (world.scores[1], world.scores[0]))
        assert [found[name].value, found[name].against] == pytest.approx([own, other])
        assert (found[name].gain or 0) > 0, "more than 0 is better, whichever way the metric goes"
    wrong = [((s >= 0.5) != (world.y == 1)).mean() for s in (world.scores[1], world.scores[0])]
    assert found["wrong decisions"].value == pytest.approx(wrong[0])
    assert found["wrong decisions"].gain == pytest.approx(wrong[1] - wrong[0])
    said = [(s >= 0.5).mean() for s in (world.scores[1], world.scores[0])]
    assert found["decided positive"].gain == pytest.approx(said[0] - said[1])
    assert not found["decided positive"].directed


def test_segments_are_those_of_the_columns_that_the_policy_names(world: World) -> None:
    world.serve(1, 2)
    world.play()
    found = world.compare()
    assert {(s.column, s.value): s.rows for s in found.segments} == {
        ("carrier", c): world.carrier.count(c) for c in ("AA", "DL", "UA")
    }
    assert [s.value for s in found.segments] == ["AA", "DL", "UA"], "those with the most rows first"
    here = np.array(world.carrier) == "DL"
    assert found.segments[1].metric.value == pytest.approx(
        metric_value("log_loss", world.y[here], world.scores[1][here], threshold=0.5)
    )
    assert found.money is not None
    parts = [s.money.gain for s in found.segments if s.money is not None]
    assert sum(part for part in parts if part is not None) == pytest.approx(found.money.gain)


def test_segments_of_personal_data_have_numbers_for_values(world: World) -> None:
    world.serve(1, 2)
    world.play()
    source = next(iter(world.workspace.project.definitions.sources.values()))
    object.__setattr__(source, "pii", ("carrier",))
    found = world.compare()
    assert [(s.column, s.value) for s in found.segments] == [("carrier", f"*** {n}") for n in (1, 2, 3)]
    assert "'DL'" not in comparison_page(found)


def test_the_other_way_round_everything_is_mirrored(world: World) -> None:
    world.serve(1, 2)
    world.play()
    one, other = world.compare((2, 1)), world.compare((1, 2))
    assert one.money is not None
    assert other.money is not None
    assert other.money.gain == pytest.approx(-(one.money.gain or 0))
    assert [other.money.low, other.money.high] == pytest.approx([-(one.money.high or 0), -(one.money.low or 0)])
    assert re.match(
        r"Version 1 would have cost [\d,]+ USD a day more \(95%: [\d,]+ to [\d,]+\) compared", other.sentence
    )
    assert (one.rule, other.rule) == (one.rule, one.rule), "the rule judges the version that was the challenger"


def test_what_is_not_decided_is_said_so(world: World) -> None:
    world.serve(1, 2)
    world.play(better=0.0)
    assert "It is not decided whether version 2 is better than version 1" in world.compare().sentence


def test_with_two_windows_it_is_too_early(world: World) -> None:
    world.serve(1, 2)
    world.play(2)
    found = world.compare()
    assert found.sentence.startswith("It is too early to say")
    assert found.money is not None
    assert found.money.low is None


def test_the_rule_says_what_it_says_of_the_records(world: World) -> None:
    world.serve(1, 2)
    world.play()
    found = world.compare().rule
    assert found is not None
    assert (found.verdict, found.challenger, found.champion, found.held_out) == ("promote", 2, 1, 0), found.reason
    assert found.windows == 21, "the first look that decides"


def test_windows_of_the_holdout_are_evidence_of_the_rule(world: World) -> None:
    world.serve(1, 2)
    world.play(6)
    gains = (
        HeldOutWindow(start=FIRST - n * DAY, end=FIRST - (n - 1) * DAY, rows=9, gains={"log_loss": 0.1 + n % 3 / 99})
        for n in range(40, 0, -1)
    )
    report = gate_report(2, champion=f"{MODEL}/1")
    world.workspace.metadata.put(
        msgspec.structs.replace(report, id=bundle_record(2).gate_report, held_out=tuple(gains))
    )
    found = world.compare().rule
    assert found is not None
    assert (found.verdict, found.windows, found.held_out) == ("promote", 5, 40)


def test_a_former_champion_that_is_kept_as_a_shadow_is_watched(world: World) -> None:
    world.serve(1, 2)
    world.play()
    found = world.compare().rule
    assert found is not None
    assert (found.watch, advice(found)) == (False, "promote it")
    revision = world.rollouts.current()
    assert revision is not None
    kept = tuple(
        msgspec.structs.replace(a, role="champion" if a.version == 1 else "shadow") for a in revision.assignments
    )
    kept = tuple(msgspec.structs.replace(a, kept=a.role == "shadow") for a in kept)
    number = revision.number + 1
    world.workspace.metadata.put(
        msgspec.structs.replace(revision, id=f"{MODEL}#{number}", number=number, assignments=kept, cause="kept")
    )
    found = world.compare().rule
    assert found is not None
    assert (found.watch, found.challenger, found.champion) == (True, 2, 1)
    assert advice(found) == "roll back: the former champion is better"
    page = comparison_page(world.compare())
    assert "The rule of the policy judges version 2 against version 1: roll back: the former champion is better" in page
    assert f">{GAIN}</th>" in page
    assert GAIN_NOTE in page


def test_without_costs_it_is_the_metric_that_is_told(tmp_path: Path) -> None:
    world = World(tmp_path / "project")
    world.serve(1, 2)
    world.play()
    found = world.compare()
    assert found.money is None
    assert found.sentence.startswith("Version 2 is better than version 1 by 0.")
    assert "in log_loss (95%: 0." in found.sentence
    assert found.segments == ()
    assert "USD" not in comparison_page(found)


def test_what_cannot_be_compared_is_an_error_that_says_why(world: World) -> None:
    with pytest.raises(StageError, match="no version of model 'delay' serves yet"):
        world.compare()
    world.serve(1)
    with pytest.raises(StageError, match=r"no version .* has served next to version 1.*trimtab retrain"):
        world.compare()
    with pytest.raises(StageError, match="has no version 7; versions: 1, 2"):
        world.compare((7, 1))
    world.serve(2)
    with pytest.raises(StageError, match=r"versions 2 and 1 .* have no window yet in which both scored the same"):
        world.compare()
    found = {"paired_rows": 5.0, "paired_version": 1.0, "paired_log_loss_gain": 0.1}
    world.workspace.metadata.put(window_report(0, version=2, role="challenger", metrics=found))
    with pytest.raises(StageError, match="compared in 1 windows, but none of the rows is in the prediction log"):
        world.compare()


def test_the_last_comparison_is_found_after_its_end(world: World) -> None:
    world.serve(1, 2)
    world.play()
    world.rollouts.abandon(cause="a", reason="no gain", by="trimtab")
    found = world.compare()
    assert (found.version, found.against) == (2, 1)
    assert found.roles == {"2": "not in service", "1": "champion"}


class Reader(HTMLParser):
    """Notes what a page refers to, and its open tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_users_wrote(world: World) -> None:
    world.serve(1, 2)
    world.play()
    found = world.compare()
    segment = replace(found.segments[0], value="<b>&", column="<i>")
    page = comparison_page(replace(found, segments=(segment,), project="<u>"))
    assert "&lt;b&gt;&amp;" in page
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert "http" not in page.replace("http-equiv", "")
    assert found.sentence in page
    assert page.count("<svg") == 2


def test_the_verb_writes_page_and_json(world: World, tmp_path: Path) -> None:
    world.serve(1, 2)
    world.play()
    page, data = tmp_path / "page.html", tmp_path / "found.json"

    def run(*options: str) -> Result:
        return CliRunner().invoke(look.app, ["compare", "--project", str(world.project.folder), *options])

    written = run("--html", str(page), "--json", str(data))
    assert written.exit_code == 0
    said = " ".join(written.output.split())
    assert "Version 2 would have saved" in said
    assert "promote it" in said
    read = json.loads(data.read_text())
    assert read["sentence"] in page.read_text()
    assert (read["version"], read["money"]["unit"]) == (2, "money")
    assert json.loads(run("--json", "-").output) == read
    same = tmp_path / "same.html"
    arguments = ["report", "comparison", "--project", str(world.project.folder), "--html", str(same)]
    assert CliRunner().invoke(look.app, arguments).exit_code == 0
    assert same.read_text() == page.read_text()
    for options, words in (
        (("--versions", "2", "2"), "two different versions"),
        (("--html", str(tmp_path / "none" / "page.html")), "cannot be written: No such file"),
    ):
        refused = run(*options).exception
        assert isinstance(refused, UsageError)
        assert words in str(refused)
    assert isinstance(run("nothing").exception, DefinitionError)


def test_each_bin_has_what_was_said_and_what_happened(world: World) -> None:
    world.serve(1, 2)
    world.play(days=6)
    for place, curve in enumerate(world.compare().calibration[::-1]):
        assert curve.version == place + 1
        assert sum(b.rows for b in curve.bins) == len(world.y)
        tenth = np.minimum((world.scores[place] * 10).astype(int), 9)
        for b, each in zip(curve.bins, np.unique(tenth), strict=True):
            here = tenth == each
            assert b.rows == here.sum()
            assert b.said == pytest.approx(world.scores[place][here].mean())
            assert b.happened == pytest.approx(world.y[here].mean())
            assert b.low <= b.happened <= b.high
