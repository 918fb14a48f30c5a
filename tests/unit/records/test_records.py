"""The records: complete, searchable by what they say, and the same after a round trip."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import msgspec.inspect as look
import pytest

from trimtab.records.gate_reports import GateResult
from trimtab.records.kinds import RECORDS
from trimtab.records.record import Record
from trimtab.records.serving import Assignment, Revision

KINDS = sorted(RECORDS.values(), key=lambda kind: kind.KIND)
MOMENT = datetime(2013, 3, 1, 5, 0, 0, 123456, tzinfo=UTC)
SEARCHABLE = (look.StrType, look.IntType, look.DateTimeType, look.LiteralType)


def value_of(kind: look.Type, name: str) -> Any:
    """Return some value of a field's type."""
    match kind:
        case look.StrType():
            return f"some {name} \u00e9"
        case look.IntType():
            return 7
        case look.FloatType():
            return 0.1
        case look.BoolType():
            return True
        case look.DateTimeType():
            return MOMENT
        case look.LiteralType():
            return kind.values[0]
        case look.UnionType():
            return value_of(next(each for each in kind.types if not isinstance(each, look.NoneType)), name)
        case look.TupleType():
            return tuple(value_of(each, name) for each in kind.item_types)
        case look.VarTupleType():
            return (value_of(kind.item_type, name),)
        case look.DictType():
            return {"key": value_of(kind.value_type, name)}
        case look.StructType():
            return kind.cls(**{field.name: value_of(field.type, field.name) for field in kind.fields})
        case look.AnyType():
            return {"deep": [1, "two", None]}
    raise AssertionError(f"{name}: no value for {kind}")


def fields_of(kind: type[Record]) -> dict[str, look.Type]:
    found = look.type_info(kind)
    assert isinstance(found, look.StructType)
    return {field.name: field.type for field in found.fields}


def a(kind: type[Record]) -> Record:
    made = value_of(look.type_info(kind), kind.KIND)
    assert isinstance(made, Record)
    return made


def test_every_record_is_in_the_table_under_its_kind() -> None:
    assert set(Record.__subclasses__()) == set(RECORDS.values())
    assert all(RECORDS[kind.KIND] is kind for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.KIND))
def test_keys_are_fields_that_can_be_compared(kind: type[Record]) -> None:
    fields = fields_of(kind)
    assert kind.KEYS
    assert len(set(kind.KEYS)) == len(kind.KEYS)
    for key in kind.KEYS:
        field = fields[key]
        types = (
            [t for t in field.types if not isinstance(t, look.NoneType)]
            if isinstance(field, look.UnionType)
            else [field]
        )
        assert all(isinstance(one, SEARCHABLE) for one in types), f"{kind.__name__}.{key}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.KIND))
def test_a_record_is_the_same_after_a_round_trip(kind: type[Record]) -> None:
    record = a(kind)
    assert msgspec.json.decode(msgspec.json.encode(record), type=kind) == record
    assert msgspec.convert(msgspec.to_builtins(record), kind) == record


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.KIND))
def test_a_record_cannot_change(kind: type[Record]) -> None:
    with pytest.raises(AttributeError):
        a(kind).id = "other"  # type: ignore[misc]  # what the type checker forbids must not work either


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.KIND))
def test_a_record_says_what_it_is(kind: type[Record]) -> None:
    assert kind.__doc__
    assert kind.KIND.islower()


def test_a_revision_knows_who_is_in_a_role() -> None:
    champion = Assignment(role="champion", bundle="delay/1", version=1, weight=90)
    revision = Revision(
        id="delay#1",
        created_at=MOMENT,
        model="delay",
        number=1,
        assignments=(champion,),
        action="deploy",
        cause="test",
        reason="first",
        by="ada",
    )
    assert revision.bundle_in("champion") == "delay/1"
    assert revision.bundle_in("challenger") is None


def test_details_of_a_gate_are_not_shared() -> None:
    first, second = (
        GateResult(gate="bias", metric="m", verdict="pass", value=0.0, low=None, high=None, threshold=None, reason="")
        for _ in range(2)
    )
    first.details["group"] = 1
    assert second.details == {}
