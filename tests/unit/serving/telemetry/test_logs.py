"""The gateway's log: its two forms, what a line is about, and warnings that repeat."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from kit.waiting import PATIENCE_S
from trimtab.errors import UsageError
from trimtab.serving.telemetry.logs import LimitedHandler, TextFormatter, about, configure_logging, log_request

logger = logging.getLogger("trimtab.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _own_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the test a root logger without pytest's handlers, and put everything back after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    monkeypatch.delenv("TRIMTAB_LOG_FORMAT", raising=False)
    monkeypatch.delenv("TRIMTAB_LOG_LEVEL", raising=False)
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("trimtab").setLevel(logging.NOTSET)


def test_at_debug_libraries_log_from_info_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_LOG_LEVEL", "debug")
    stream = io.StringIO()
    configure_logging(stream=stream)
    library = logging.getLogger("a.library")
    for log in (logger, library):
        log.debug("%s step", log.name)
        log.info("%s begins", log.name)
    assert [line["message"] for line in lines(stream)] == [
        "trimtab.test step",
        "trimtab.test begins",
        "a.library begins",
    ]


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_a_machine_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure_logging(worker="2", stream=stream)
    logger.warning("bundle %s\nfailed", "delay/3", extra=about(model="delay", version=3, revision=7, request_id="abc"))
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "trimtab.test",
        "message": "bundle delay/3\nfailed",
        "worker": "2",
        "model": "delay",
        "version": 3,
        "revision": 7,
        "request_id": "abc",
    }


def test_an_exception_is_text_in_its_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        raise ValueError("too small")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("ValueError: too small")


def test_what_cannot_be_encoded_is_escaped() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    logger.warning("path %s", "/\udcff")
    assert "udcff" in lines(stream)[0]["message"]


def test_a_person_gets_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    configure_logging(worker="2", stream=stream)
    logger.warning("it failed", extra=about(model="delay", request_id="abc"))
    logger.error("that as well")
    first, second = stream.getvalue().splitlines()
    assert first.endswith(" WARNING worker 2 trimtab.test: it failed [model=delay request_id=abc]")
    assert second.endswith(" ERROR worker 2 trimtab.test: that as well")


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("TEXT", False)])
def test_the_settings_choose_the_form(monkeypatch: pytest.MonkeyPatch, form: str, is_json: bool) -> None:
    monkeypatch.setenv("TRIMTAB_LOG_FORMAT", form)
    stream = Terminal() if is_json else io.StringIO()
    configure_logging(stream=stream)
    logger.warning("x")
    assert stream.getvalue().startswith("{") is is_json


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("TRIMTAB_LOG_FORMAT", "jsn", "Did you mean 'json'"), ("TRIMTAB_LOG_LEVEL", "WARN", "Did you mean 'WARNING'")],
)
def test_settings_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=says):
        configure_logging(stream=io.StringIO())


def test_requests_are_logged_at_debug_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setenv("TRIMTAB_LOG_LEVEL", "INFO")
    configure_logging(stream=stream)
    log_request("POST", "/v2/models/delay/infer", 200, time.perf_counter_ns(), request_id="abc")
    assert stream.getvalue() == ""
    monkeypatch.setenv("TRIMTAB_LOG_LEVEL", "DEBUG")
    configure_logging(stream=stream)
    log_request("POST", "/v2/models/delay/infer", 200, time.perf_counter_ns(), request_id="abc")
    (line,) = lines(stream)
    assert line["logger"] == "trimtab.access"
    assert line["message"].startswith("POST /v2/models/delay/infer 200 ")
    assert line["request_id"] == "abc"


class Told(io.StringIO):
    """A stream that a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def write(self, text: str) -> int:
        with self.changed:
            self.changed.notify_all()
            return super().write(text)

    def wait_for(self, text: str) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: text in self.getvalue(), timeout=PATIENCE_S)


def limited(stream: io.StringIO, repeat_s: float) -> LimitedHandler:
    handler = LimitedHandler(stream, repeat_s=repeat_s)
    handler.setFormatter(TextFormatter())
    logging.getLogger().addHandler(handler)
    return handler


def test_a_warning_that_repeats_is_told_once_and_then_counted() -> None:
    stream = Told()
    handler = limited(stream, 3600)
    for number in range(5):
        logger.warning("bundle %s failed after %d answers", "delay/3", number)
    logger.warning("bundle %s failed after %d answers", "delay/4", 0)
    logger.warning("something else")
    assert len(stream.getvalue().splitlines()) == 3
    handler.close()
    assert stream.getvalue().splitlines()[3].endswith("4 more in 3600 s: bundle delay/3 failed after 4 answers")


def test_the_count_comes_by_itself() -> None:
    stream = Told()
    limited(stream, 0.01)
    logger.warning("it failed")
    for _ in range(100_000):
        logger.warning("it failed")
        if "more in 0.01 s" in stream.getvalue():
            break
    assert stream.wait_for("more in 0.01 s: it failed")


def test_a_warning_of_long_ago_is_told_at_once_again() -> None:
    stream = Told()
    handler = limited(stream, 0.0)
    logger.warning("it failed")
    while handler._held:
        threading.Event().wait(0.001)
    logger.warning("it failed")
    assert [line.split(": ")[-1] for line in stream.getvalue().splitlines()] == ["it failed", "it failed"]


def test_information_is_never_held_back() -> None:
    stream = io.StringIO()
    limited(stream, 3600)
    logging.getLogger().setLevel("INFO")
    for _ in range(3):
        logger.info("serves")
    assert len(stream.getvalue().splitlines()) == 3


def test_what_a_client_sends_begins_no_line_of_its_own() -> None:
    stream = io.StringIO()
    handler = LimitedHandler(stream)
    handler.setFormatter(TextFormatter("0"))
    record = logging.makeLogRecord(
        {
            "name": "trimtab",
            "levelname": "ERROR",
            "levelno": logging.ERROR,
            "msg": "GET %s failed",
            "args": ("/v2/a\n2026-01-01 INFO trimtab: all is well\r\x1b[2K\u2028\u202e",),
            "model": "delay\n2026-01-01 INFO",
        }
    )
    handler.emit(record)
    handler.close()
    (line,) = stream.getvalue().splitlines()
    assert (
        r"GET /v2/a\n2026-01-01 INFO trimtab: all is well\r\x1b[2K\u2028\u202e failed [model=delay\n2026-01-01 INFO]"
        in line
    )
