"""Checks that run one after another, each with a verdict, a line of text and its seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from trimtab.errors import TrimtabError
from trimtab.gates.junit_xml import Case, junit_xml

log = logging.getLogger(__name__)

T = TypeVar("T")
FAILED, UNREACHABLE = 1, 3
"""Exit codes of a check that failed, and of one whose service cannot be reached."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check. group: what it is about, such as `source flights`. code: exit code if it failed."""

    group: str
    check: str
    verdict: Literal["pass", "warn", "fail", "skip"]
    text: str
    seconds: float
    code: int = FAILED


class Skipped(Exception):
    """Raised by a check that cannot run. The message says why."""


class Warned(Exception):
    """Raised by a check that passes with a warning. The message is the warning; value: what the check returns."""

    def __init__(self, text: str, value: Any = None) -> None:
        super().__init__(text)
        self.value = value


class Checks:
    """Runs checks and keeps their outcomes."""

    def __init__(self, tell: Callable[[Outcome], object]) -> None:
        """tell: gets each outcome at once."""
        self.outcomes: list[Outcome] = []
        self._tell = tell
        self._names: dict[str, str] = {}

    def rename(self, name: str, said: str) -> None:
        """Say something else for a text of errors, such as the name of a temporary folder."""
        self._names[name] = said

    def run(self, group: str, check: str, work: Callable[[], tuple[T, str]]) -> T | None:
        """Run a check that returns a value and what to say of it. Return the value, or None unless it passed."""
        began = time.perf_counter()
        value: T | None = None
        verdict: Literal["pass", "warn", "fail", "skip"]
        code = FAILED
        try:
            value, text = work()
            verdict = "pass"
        except Skipped as why:
            verdict, text = "skip", str(why)
        except Warned as why:
            verdict, text, value = "warn", str(why), why.value
        except TrimtabError as error:
            verdict, text, code = "fail", str(error), error.exit_code
        except Exception as error:  # whatever a project's own code raises fails this check, and no other
            log.debug("check %s of %s", check, group, exc_info=error)
            verdict, text = "fail", f"{type(error).__name__}: {error}"
        for name, said in self._names.items():
            text = text.replace(name, said)
        self._add(group, check, verdict, _one_line(text), time.perf_counter() - began, code)
        return value

    def skip(self, group: str, check: str, why: str) -> None:
        """Add a check that was not run."""
        self._add(group, check, "skip", why, 0.0, FAILED)

    def _add(
        self, group: str, check: str, verdict: Literal["pass", "warn", "fail", "skip"], text: str, seconds: float,
        code: int,
    ) -> None:  # fmt: skip
        made = Outcome(group=group, check=check, verdict=verdict, text=text, seconds=seconds, code=code)
        self.outcomes.append(made)
        self._tell(made)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if no check failed, else the code of the first that did: 2 for a wrong policy or definition."""
    return next((each.code for each in outcomes if each.verdict == "fail"), 0)


def junit_of(title: str, suite: str, outcomes: Sequence[Outcome], at: datetime) -> bytes:
    """Return the outcomes as JUnit XML, one test case a check; a warning is a case that passed, with output."""
    of = {"fail": "failed", "skip": "skipped"}
    cases = [
        Case(
            group=each.group,
            name=each.check,
            text=f"warning: {each.text}" if each.verdict == "warn" else each.text,
            outcome=of.get(each.verdict, "passed"),
            seconds=each.seconds,
        )
        for each in outcomes
    ]
    return junit_xml(title, suite, cases, at=at)


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.strip().splitlines() if line.strip())
