"""trimtab.yaml: what is right parses, and what is wrong is told with file, line, key and the nearest right thing."""

from pathlib import Path

import pytest

from trimtab.errors import PolicyError
from trimtab.policy.reader import line_of, parse_policy, read_policy
from trimtab.units import MICROS

EXAMPLE = Path(__file__).parents[3] / "examples" / "flights" / "trimtab.yaml"
DESIGNED = """\
project: flight-delays
checks:   { flights: checks.Flights, max_failing_rows: 1% }
gates:
  accuracy:    { metric: roc_auc, min: 0.70, not_worse_than_champion_by: 0.005, confidence: 0.95 }
  bias:        { sensitive: [carrier], metric: equalized_odds_difference, max: 0.20 }
  robustness:  { missing: 5%, noise: 0.1sd, max_drop: 0.03 }
  performance: { p99: 10ms, memory: 500MB }
rollout:
  strategy: champion-challenger
  split: { champion: 90, challenger: 10 }
  promote_when: { metric: log_loss, confidence: 0.95, min_labels: 1000 }
  rollback_when: { error_rate: 2%, p99: 50ms }
impact:   { currency: USD, cost: { false_negative: 40, false_positive: 5 }, medium: 500/day, high: 5000/day }
decide:
  window: 1d
  matrix:                              # p-value band x business impact
    minor:    { p: "> 0.05",      low: monitor, medium: monitor, high: review  }
    moderate: { p: "0.01 - 0.05", low: monitor, medium: review,  high: review  }
    severe:   { p: "< 0.01",      low: review,  medium: review,  high: retrain }
  cooldown: 3d
  budget: { retrains: 8/month, cost: 200/month }
environments:
  local: {}
"""


def test_a_whole_policy_parses() -> None:
    policy = parse_policy(DESIGNED)
    assert policy.project == "flight-delays"
    assert policy.checks.tables["flights"].schema_ == "checks.Flights"
    assert policy.checks.max_failing_rows == 0.01
    assert policy.gates.performance is not None
    assert (policy.gates.performance.p99, policy.gates.performance.memory) == (10 * MICROS["ms"], 500_000_000)
    assert policy.gates.robustness is not None
    assert (policy.gates.robustness.missing, policy.gates.robustness.noise) == (0.05, 0.1)
    assert (policy.rollout.rollback_when.error_rate, policy.rollout.rollback_when.p99) == (0.02, 50 * MICROS["ms"])
    assert (policy.impact.medium, policy.impact.high) == (500, 5000)
    assert (policy.decide.window, policy.decide.cooldown) == (MICROS["d"], 3 * MICROS["d"])
    assert (policy.decide.budget.retrains, policy.decide.budget.cost) == pytest.approx((8, 200))
    assert policy.decide.matrix.band(0.02)[0] == "moderate"
    assert policy.environments["local"].metadata is None


def test_the_example_parses() -> None:
    assert read_policy(EXAMPLE).project == "flight-delays"


def test_a_project_needs_no_more_than_its_name() -> None:
    policy = parse_policy("project: small")
    assert policy.decide.matrix.band(0.5)[1].high == "review"
    assert list(policy.environments) == ["local"]


def test_gates_can_be_left_out() -> None:
    assert parse_policy("project: p\ngates: { accuracy: null }\n").gates.accuracy is None


WRONG = {
    "not yaml": ("project: p\n  gates: 1\n", ":2: not valid YAML: mapping values are not allowed here"),
    "tab": ("project: p\ngates:\n\taccuracy: {}\n", ":3: not valid YAML:", "indent with spaces"),
    "control character": ("project: p\nx: \x01\n", ":2: not valid YAML: special characters are not allowed"),
    "two documents": ("project: p\n---\nproject: q\n", ":2: not valid YAML: expected a single document"),
    "code in yaml": ("project: p\ngates: !!python/object:os.system {}\n", ":2: not valid YAML: could not determine"),
    "an alias of itself": ("project: p\ntraining: &a { params: *a }\n", ":2: not valid YAML: an alias leads back"),
    "nothing": ("# only a comment\n", ":1: expected keys such as 'project: my-project'"),
    "a list": ("- project\n", ":1: expected keys such as 'project: my-project'"),
    "no project": ("training: {}\n", ":1: missing key 'project'"),
    "twice": ("project: p\ntraining:\n  seed: 1\n  seed: 2\n", ":4: training.seed: this key is given twice", "line 3"),
    "section": ("project: p\ngatez: {}\n", ":2: gatez: unknown key 'gatez'. Did you mean 'gates'?"),
    "gate": ("project: p\ngates:\n  accurracy: {}\n", ":3: gates.accurracy: unknown key", "Did you mean 'accuracy'?"),
    "key": (
        "project: p\ngates:\n  bias: { sensitiv: [a] }\n",
        ":3: gates.bias.sensitiv: ",
        "Did you mean 'sensitive'?",
    ),
    "key of a band": (
        'project: p\ndecide:\n  matrix:\n    all: { p: "> 0", low: review, medium: review, hihg: review }\n',
        ":4: decide.matrix.all.hihg: unknown key 'hihg'. Did you mean 'high'?",
        ":4: decide.matrix.all: missing key 'high'",
    ),
    "key of a table": ("project: p\nchecks:\n  t: { schma: a.B }\n", ":3: checks.t.schma: ", "Did you mean 'schema'?"),
    "key of an environment": (
        "project: p\nenvironments:\n  production: { metdata: x }\n",
        ":3: environments.production.metdata: unknown key 'metdata'. Did you mean 'metadata'?",
    ),
    "a limit taken for a table": (
        "project: p\nchecks:\n  max_failing_row: 1%\n",
        ":3: checks.max_failing_row: '1%' names no schema; expected module.Name, such as checks.Flights",
        "did you mean the key 'max_failing_rows'?",
    ),
    "metric": (
        "project: p\ngates:\n  accuracy:\n    metric: roc_acu\n",
        ":4: gates.accuracy.metric: unknown metric 'roc_acu'. Did you mean 'roc_auc'?",
    ),
    "metric that is no text": (
        "project: p\ngates: { accuracy: { metric: 5 } }\n",
        ":2: gates.accuracy.metric: ",
        "'5'",
    ),
    "fairness metric": (
        "project: p\ngates:\n  bias: { sensitive: [a], metric: equalised_odds_difference, max: 0.2 }\n",
        "Did you mean 'equalized_odds_difference'?",
    ),
    "strategy": (
        "project: p\nrollout: { strategy: blue-gren }\n",
        ":2: rollout.strategy: unknown value 'blue-gren'. Did you mean 'blue-green'?",
        "Did you mean 'blue-green'?",
    ),
    "action": (
        'project: p\ndecide:\n  matrix:\n    all: { p: "> 0", low: retrian, medium: review, high: review }\n',
        ":4: decide.matrix.all.low: unknown value 'retrian'. Did you mean 'retrain'?",
    ),
    "role": (
        "project: p\nrollout:\n  split: { champion: 90, shadow: 10 }\n",
        ":3: rollout.split.shadow: unknown key 'shadow'. Valid: challenger, champion.",
    ),
    "cost": ("project: p\nimpact: { cost: { false_negativ: 1 } }\n", ":2: impact.cost.false_negativ: unknown key"),
    "duration": ("project: p\ndecide:\n  window: 1 day\n", ":3: decide.window: '1 day'", "Did you mean 'd'?"),
    "no unit": ("project: p\ngates:\n  performance: { p99: 10 }\n", "p99: 10 has no unit; expected such as 10ms"),
    "size": ("project: p\ngates:\n  performance: { memory: 500Mb }\n", ":3: gates.performance.memory", "mean 'MB'?"),
    "share": ("project: p\ntraining:\n  holdout: 200%\n", ":3: training.holdout: '200%' is not a share", "100%"),
    "share of a hundred": (
        "project: p\ntraining:\n  validation: 15\n",
        ":3: training.validation: '15' is not a share: expected between 0% and 100%, write 15%",
        "15%",
    ),
    "rate": ("project: p\nimpact:\n  medium: 500/fortnight\n", ":3: impact.medium: ", "Valid: day, hour, month"),
    "percent for a number": (
        "project: p\ngates: { robustness: { max_drop: 3% } }\n",
        ":2: gates.robustness.max_drop: expected a number, found '3%'; write 0.03",
    ),
    "number": ("project: p\ntraining: { seed: lucky }\n", ":2: training.seed: expected a whole number, found 'lucky'"),
    "truth": ("project: p\ndecide: { require_harm: maybe }\n", "expected true or false, found 'maybe'"),
    "list": ("project: p\nrollout: { sticky: carrier }\n", "expected a list, such as [carrier], found 'carrier'"),
    "too much": ("project: p\nserving: { port: 99999 }\n", ":2: serving.port: expected 65535 or less, found 99999"),
    "infinity": ("project: p\nimpact: { cost: { false_negative: .inf } }\n", "expected a finite number, found inf"),
    "empty section": (
        "project: p\ndecide:\n",
        ":2: decide: expected keys below it (window, matrix, cooldown, retry_after, ...), found nothing",
    ),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_wrong_is_told_with_its_place(name: str) -> None:
    text, *words = WRONG[name]
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, "some/trimtab.yaml")
    message = str(refused.value)
    assert all(line.startswith("some/trimtab.yaml:") for line in message.splitlines())
    for word in words:
        assert word in message


def test_all_that_is_wrong_is_told_in_the_order_of_the_file() -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy("project: p\ntraining:\n  seed: x\n  holdout: 200%\nserving: { port: -1 }\n")
    keys = [line.split(": ")[1] for line in str(refused.value).splitlines()]
    assert keys == ["training.seed", "training.holdout", "serving.port"]


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"trimtab\.yaml: no such file.*trimtab init flights"):
        read_policy(tmp_path / "trimtab.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_bytes(b"project: \xff\n")
    with pytest.raises(PolicyError, match=r"trimtab\.yaml: cannot be read as UTF-8 text"):
        read_policy(tmp_path / "trimtab.yaml")


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path)


@pytest.mark.parametrize(
    ("key", "line"), [("gates.bias.metric", 5), ("decide.matrix.severe", 19), ("checks.flights", 2), ("gates.new", 3)]
)
def test_the_line_of_a_key_or_of_its_nearest_parent(tmp_path: Path, key: str, line: int) -> None:
    (tmp_path / "trimtab.yaml").write_text(DESIGNED)
    assert line_of(tmp_path / "trimtab.yaml", key) == line


def test_what_is_nowhere_is_on_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text("")
    assert line_of(tmp_path / "trimtab.yaml", "gates.bias") == 1


def test_a_key_that_yaml_takes_for_a_truth_value_is_text() -> None:
    assert parse_policy("project: p\ntraining: { on: subprocess, memory: 2GB }\n").training.on == "subprocess"
    with pytest.raises(PolicyError, match=r"trimtab.yaml:2: training\.no"):
        parse_policy("project: p\ntraining: { no: 1 }\n")


@pytest.mark.parametrize(
    ("rollout", "promote", "expected"),
    [
        ("champion-challenger", "by: judge", "compares a shadow"),
        ("canary", "by: judge", "rollout.strategy is canary"),
        ("shadow", "by: feedback", "whose answers reach no user"),
        ("shadow", "by: judge, metric: edited", "Write metric: judge:NAME"),
        ("shadow", "metric: thumb_down", "Did you mean 'thumbs_down'?"),
        ("shadow", "metric: 'judge:polite@3'", "judge:NAME or human:NAME"),
    ],
)
def test_prompts_are_compared_by_evidence_that_their_rollout_gives(rollout: str, promote: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected.replace("?", r"\?")) as refused:
        parse_policy(f"project: p\nrollout: {{ strategy: {rollout} }}\nllm:\n  promote: {{ {promote} }}\n")
    assert "trimtab.yaml:" in str(refused.value)


@pytest.mark.parametrize(("strategy", "evidence"), [("shadow", "judge"), ("champion-challenger", "feedback")])
def test_left_out_the_evidence_follows_the_rollout(strategy: str, evidence: str) -> None:
    policy = parse_policy(f"project: p\nrollout: {{ strategy: {strategy} }}\n")
    assert policy.llm.promote.evidence_for(policy.rollout.strategy) == evidence
