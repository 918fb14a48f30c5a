"""What is kept of a text: nothing that is found in it, one name for one value, a hash when a detector fails."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.canaries import CASES, Case
from trimtab.errors import StageError, StoreError
from trimtab.llm.completion import Completion
from trimtab.llm.redaction.content_rows import PIECE_CHARS, content_columns, texts_of
from trimtab.llm.redaction.project_key import FILE, ProjectKey, project_key
from trimtab.llm.redaction.redactor import HELD_BACK, HIDDEN, Mode, Redactor, StreamMask
from trimtab.llm.redaction.text_detectors import DETECTORS

KEY = ProjectKey(b"k" * 32)
CANARY = "canary.7f3a@example.org"


def redactor(*patterns: str) -> Redactor:
    return Redactor(list(DETECTORS), patterns, KEY)


def kept(texts: list[tuple[str, str]], mode: Mode, made: Redactor | None = None) -> dict[str, list[object]]:
    columns = content_columns(
        texts, made or redactor(), mode, prediction_id="a", model="m", version=1, at=0, user="u", conversation=None
    )
    return {name: list(values) for name, values in columns.items()}


def test_a_value_has_one_name_within_a_turn_and_others_have_others() -> None:
    masks = redactor().turn()
    assert masks.keep("Anna@example.org and bob@example.org", "masked").text == "<EMAIL_1> and <EMAIL_2>"
    assert masks.keep("again anna@example.org, call +49 30 1234567", "masked").text == "again <EMAIL_1>, call <PHONE_1>"
    assert masks.keep("+49-30-123-4567", "masked").text == "<PHONE_1>"
    assert redactor().turn().masked("bob@example.org") == "<EMAIL_1>"


def test_modes_keep_what_they_say() -> None:
    masks = redactor(r"T-\d+").turn()
    assert masks.keep("ticket T-17", "masked")[:3] == ("masked", "ticket <CUSTOM_1>", 11)
    assert masks.keep(CANARY, "full") == ("full", CANARY, len(CANARY), None)
    assert masks.keep(CANARY, "hash") == ("hash", KEY.of_text(CANARY), len(CANARY), KEY.id)
    assert ProjectKey(b"x" * 32).of_text(CANARY) != KEY.of_text(CANARY)


def test_a_detector_that_fails_means_a_hash(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> object:
        raise RecursionError(f"too deep in {text}")

    monkeypatch.setitem(DETECTORS, "email", fail)
    made = redactor()
    with caplog.at_level(logging.ERROR):
        assert made.turn().keep(CANARY, "masked").mode == "hash"
        assert made.turn().shown(CANARY) == HIDDEN
        mask = StreamMask(made.turn(), made)
        assert CANARY not in mask.feed(CANARY * 10) + mask.end()
    assert "a detector of llm.redact has failed" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("mode", ["masked", "hash"])
def test_a_canary_in_any_field_never_comes_out(case: Case, mode: Mode) -> None:
    texts = list(
        texts_of(
            case.messages,
            case.variables,
            Completion(text=case.answer, tool_calls=case.tool_calls, refusal=case.text),
            documents={"doc-1": case.text},
            error=f"bad request: {case.text}",
        )
    )
    rows = kept(texts, mode)
    assert any(case.secret in text for _, text in texts)
    assert not any(case.secret in str(value) for column in rows.values() for value in column)


@given(st.text(), st.text(), st.sampled_from(["masked", "hash"]))
def test_a_canary_between_any_texts_never_comes_out(before: str, after: str, mode: Mode) -> None:
    text = f"{before} {CANARY} {after}"
    assert CANARY not in redactor().turn().keep(text, mode).text


@given(st.lists(st.sampled_from([CANARY, "call ", "+49 30 1234567", " ", "x" * 70, "pay 4111 1111 1111 1111.", "\n"])))
def test_a_stream_in_any_pieces_is_masked_as_the_whole(parts: list[str]) -> None:
    text = " ".join(parts)
    whole = redactor().turn().masked(text)
    for size in (1, 3, 17, 64, 1000):
        mask = StreamMask((made := redactor()).turn(), made)
        pieces = [mask.feed(text[start : start + size]) for start in range(0, len(text), size)]
        assert "".join([*pieces, mask.end()]) == whole


def test_a_stream_holds_back_what_may_be_a_part_of_a_value() -> None:
    made = redactor()
    mask = StreamMask(made.turn(), made)
    sent = "".join(mask.feed(c) for c in "The address that you asked for is canary.7f3a")
    assert sent == ""
    sent = mask.feed("@example.org" + " and more words follow here" * 4)
    assert sent.startswith("The address that you asked for is <EMAIL_1> and")
    assert len(sent + mask.end()) > HELD_BACK


def test_a_private_key_waits_until_it_ends() -> None:
    made = redactor()
    mask = StreamMask(made.turn(), made)
    lines = ["-----BEGIN RSA PRIVATE KEY-----", *["abcd" * 16] * 20, "-----END RSA PRIVATE KEY-----", "done " * 30]
    out = "".join(mask.feed(line + "\n") for line in lines) + mask.end()
    assert out.startswith("<SECRET_1>\ndone")
    assert "abcd" not in out


def test_a_long_text_is_kept_in_pieces() -> None:
    rows = kept([("messages.0.user", "word " * (PIECE_CHARS // 4))], "masked")
    assert rows["part"] == ["messages.0.user", "messages.0.user#2"]
    assert "".join(map(str, rows["text"])) == "word " * (PIECE_CHARS // 4)
    assert kept([], "masked") == {}


def test_a_name_is_kept_as_a_hash_because_no_detector_knows_names() -> None:
    rows = kept([("messages.0.user", "hello"), ("messages.0.name", "Anna")], "masked")
    assert rows["mode"] == ["masked", "hash"]
    assert rows["text"] == ["hello", KEY.of_text("Anna")]


def test_the_parts_of_a_turn_are_named() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "name": "Anna", "content": [{"type": "text", "text": "see"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42"},
    ]
    texts = dict(texts_of(messages, {"product": "Acme"}, Completion(text="ok"), documents={"d1": "manual"}))
    assert texts == {
        "variables.product": "Acme",
        "messages.0.user": "see\n[image_url]",
        "messages.0.name": "Anna",
        "messages.1.tool_calls": '[{"id":"1"}]',
        "messages.2.tool": "42",
        "documents.d1": "manual",
        "answer": "ok",
    }


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    made, again = project_key(tmp_path / "new"), project_key(tmp_path / "new")
    assert made == again
    assert (tmp_path / "new" / FILE).stat().st_mode & 0o777 == 0o600
    assert made.key.hex() not in repr(made)
    assert re.fullmatch("[0-9a-f]{8}", made.id)
    assert project_key(tmp_path / "other") != made
    assert made.of_name("user", "anna") != made.of_name("conversation", "anna")


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_id_of_a_turn_is_of_one_tenant(tenant: str, other: str) -> None:
    turn = KEY.turn_id(tenant)
    assert KEY.issued(turn, tenant)
    assert KEY.issued(turn, other) is (other == tenant)
    assert not ProjectKey(b"x" * 32).issued(turn, tenant)
    assert not KEY.issued(turn[:-1] + ("0" if turn[-1] != "0" else "1"), tenant)
    assert not KEY.issued(other, tenant)
    assert KEY.turn_id(tenant) != turn


def test_the_key_may_come_from_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED_KEY", "a passphrase of all machines")
    assert project_key(tmp_path, "SHARED_KEY") == project_key(tmp_path / "elsewhere", "SHARED_KEY")
    assert not list(tmp_path.iterdir())
    with pytest.raises(StageError, match="NO_SUCH_KEY"):
        project_key(tmp_path, "NO_SUCH_KEY")


def test_a_damaged_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("abc\n")
    with pytest.raises(StoreError, match=r"redaction\.key"):
        project_key(tmp_path)
