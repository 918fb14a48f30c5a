"""Definitions of Feast repositories: what is converted, renamed, left out and reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from trimtab.app.project.definitions_file import load_definitions
from trimtab.app.project.feast_conversion import Imported, convert
from trimtab.app.project.feast_repository import (
    DataSource,
    Entity,
    Field,
    Repository,
    View,
    read_repository,
)
from trimtab.cli.features import building
from trimtab.definitions.collection import Definitions
from trimtab.definitions.kafka_source import KafkaSource
from trimtab.definitions.sql_source import SQLSource
from trimtab.errors import StageError, UsageError

RECORDED = Path(__file__).with_name("feast_kinds.json")
"""What Feast 0.67 reads of tests/clients/feast_kinds; `python -m clients.with_feast` compares the two."""
CARD = Entity(name="card", join_key="card")
AMOUNT = Field(name="amount", type="DOUBLE")


def recorded() -> Repository:
    return msgspec.json.decode(RECORDED.read_bytes(), type=Repository)


def imported(found: Repository, folder: Path, *, known_at_created: bool = False) -> Imported:
    return convert(found, folder / "feast", base=folder, known_at_created=known_at_created)


def loaded(made: Imported, folder: Path) -> Definitions:
    (folder / "definitions.py").write_text(made.text)
    return load_definitions(folder)


def simple(source: DataSource, **options: object) -> Repository:
    """A repository with one view of one source."""
    given = {"kind": "FeatureView", "source": source.name, "entities": ["card"], "join_keys": ["card"]}
    view = msgspec.convert(
        {"name": "spent", "fields": [{"name": "amount", "type": "DOUBLE"}], **given, **options}, View
    )
    return Repository(feast="0.67.0", project="p", entities=[CARD], sources=[source], views=[view])


def file(**options: object) -> DataSource:
    given = {"name": "payments", "kind": "FileSource", "path": "data/payments.parquet", "timestamp": "paid_at"}
    return msgspec.convert({**given, **options}, DataSource)


def test_views_become_latest_values_and_aggregations(tmp_path: Path) -> None:
    found = loaded(imported(recorded(), tmp_path), tmp_path)
    assert found.views["card_limits"].feature_names == ("card_limits__limit", "card_limits__bank")
    assert found.views["ordered"].entity.keys == ("card", "shop")
    spent = found.views["spent"]
    assert [(a.kind, a.column, a.name) for a in spent.aggregations] == [
        ("sum", "amount", "sum_amount_3600s"),
        ("mean", "amount", "usual"),
        ("count", None, "count_amount_86400s"),
        ("distinct", "shop", "count_distinct_shop_604800s"),
        ("quantile", "amount", "median_amount_604800s"),
    ]
    assert spent.aggregations[2].where == "amount is not None"
    assert spent.ttl == "7d"
    source = spent.source
    assert isinstance(source, KafkaSource)
    assert (source.topic, source.servers, source.timestamp) == ("payments", "kafka:9092", "paid_at")
    assert found.services["fraud"].owner == "risk@example.com"
    assert len(found.services["fraud"].feature_names) == 6


def test_what_has_no_counterpart_is_reported_with_the_reason(tmp_path: Path) -> None:
    made = imported(recorded(), tmp_path)
    why = {f"{each.kind} {each.name}": each.why for each in made.left_out}
    assert why["FeatureView everywhere"] == "it has no entity; a view needs one"
    assert why["FeatureView keyed"].startswith("its join key is column 'card_no' by a field_mapping")
    assert why["FeatureView vectors"] == "none of its features can be converted"
    assert why["FeatureView card__limits"].startswith("feature past is of type INT64_LIST")
    assert why["StreamFeatureView transformed"].startswith("its values come from code")
    assert "#     return rows.assign(amount=rows.amount * 2)" in made.text
    assert why["BigQuerySource warehouse"].startswith("no connector reads it; export its rows to data/warehouse")
    assert why["FileSource data/orders"].startswith("'data/orders' is no file of a format that is read")
    assert why["FileSource payments"].startswith("views read payment_stream alone")
    assert why["KafkaSource avro_stream"] == "no view that was converted reads it"
    assert "without ordered under another name" in why["FeatureService fraud"]
    assert "without card__limits:past" in why["FeatureService fraud"]
    aggregations = [each.why for each in made.left_out if each.name == "spent"]
    assert "there is no counterpart of max(amount). It has no window." in aggregations[0]
    assert "there is no counterpart of var_samp(amount)" in aggregations[1]
    renamed = {each.name for each in made.differs if each.why.startswith("it is named")}
    assert renamed == {"card_shop-2", "data/orders", "card__limits"}


def test_files_words_and_mapped_fields_are_taken_over(tmp_path: Path) -> None:
    words = {"description": 'how "much"', "owner": "me", "tags": {"team": "risk", "gold": ""}}
    mapped = file(field_mapping={"eur": "amount"}, created="written_at")
    made = imported(simple(mapped, ttl=90_000_000, **words), tmp_path)
    view = loaded(made, tmp_path).views["spent"]
    assert (view.source.path, view.source.timestamp, view.source.known_at) == (
        "feast/data/payments.parquet",
        "paid_at",
        None,
    )
    assert [(a.column, a.name) for a in view.aggregations] == [("eur", "amount")]
    assert (view.description, view.owner, view.tags, view.ttl) == ('how "much"', "me", ("team=risk", "gold"), "90s")
    assert "Feast takes the one with the latest 'written_at'" in made.differs[0].why
    known = loaded(imported(simple(mapped), tmp_path, known_at_created=True), tmp_path).views["spent"].source
    assert (known.known_at, known.key) == ("written_at", ("card", "paid_at"))
    assert (made.left_out, made.converted) == ([], {"Entity": 1, "FileSource": 1, "FeatureView": 1})


def test_a_file_outside_of_the_project_keeps_its_whole_path(tmp_path: Path) -> None:
    made = convert(simple(file()), tmp_path / "feast", base=tmp_path / "project")
    assert f'"{tmp_path}/feast/data/payments.parquet"' in made.text
    assert '"s3://bucket/a.parquet"' in imported(simple(file(path="s3://bucket/a.parquet")), tmp_path).text


def test_a_table_of_postgres_is_read_with_a_password_of_the_environment(tmp_path: Path) -> None:
    source = file(kind="PostgreSQLSource", path="", table="shop.payments")
    found = msgspec.structs.replace(simple(source), connection={"host": "db", "database": "shop", "user": "app"})
    made = loaded(imported(found, tmp_path), tmp_path).views["spent"].source
    assert isinstance(made, SQLSource)
    assert made.connection == "postgresql://app:${FEAST_POSTGRES_PASSWORD}@db:5432/shop"
    assert (made.table, made.key) == ("shop.payments", ("card", "paid_at"))


def test_two_names_that_become_one_stay_apart(tmp_path: Path) -> None:
    found = simple(file())
    views = [msgspec.structs.replace(found.views[0], name=name) for name in ("a-b", "a__b", "class")]
    made = imported(msgspec.structs.replace(found, views=views), tmp_path)
    assert list(loaded(made, tmp_path).views) == ["a_b", "a_b_2", "class"]


def test_what_cannot_be_written_is_an_error_not_a_broken_file(tmp_path: Path) -> None:
    twice = [AMOUNT, AMOUNT]
    found = simple(file(), fields=msgspec.to_builtins(twice))
    found = msgspec.structs.replace(found, views=[msgspec.structs.replace(found.views[0], join_keys=[""])])
    with pytest.raises(StageError, match="cannot be written here"):
        imported(found, tmp_path)


def test_a_folder_without_a_repository_and_a_python_without_feast_are_refused(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "feature_store.yaml").write_text("project: p\n")
    with pytest.raises(UsageError, match=r"no such file.*Did you mean '.*repo'\?"):
        read_repository(tmp_path, None)
    with pytest.raises(UsageError, match=r"this Python has none.*--python PATH"):
        read_repository(tmp_path / "repo", None)
    with pytest.raises(UsageError, match="cannot import feast"):
        read_repository(tmp_path / "repo", Path(sys.executable))
    with pytest.raises(UsageError, match="cannot be run: No such file"):
        read_repository(tmp_path / "repo", tmp_path / "python")


def test_the_verb_writes_a_file_prints_the_rest_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.cli.features import importing_feast

    monkeypatch.setattr(importing_feast, "read_repository", lambda folder, python: recorded())  # takes Feast
    run = CliRunner()
    command = ["features", "import-feast", str(tmp_path), "--into", str(tmp_path / "definitions.py")]
    done = run.invoke(building.app, command)
    assert done.exit_code == 1, done.output
    assert "imported  kinds: 2 Entities, 2 FileSources, 1 KafkaSource, 3 FeatureViews, 1 FeatureService" in done.output
    assert "left out  FeatureView everywhere: it has no entity" in done.output
    assert "differs   StreamFeatureView spent: windows end at the time of the read" in done.output
    assert "spent" in load_definitions(tmp_path).views
    assert isinstance(run.invoke(building.app, command).exception, UsageError)
    printed = json.loads(run.invoke(building.app, [*command[:3], "--json"]).output)
    assert printed["text"].startswith('"""Definitions of Feast')
    monkeypatch.setattr(importing_feast, "read_repository", lambda folder, python: simple(file()))
    assert run.invoke(building.app, command[:3]).exit_code == 0
