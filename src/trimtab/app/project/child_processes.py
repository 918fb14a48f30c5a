"""The commands of processes that a gateway or the loop starts, and what they are told."""

import sys
from typing import Any

import msgspec

WORKER = (sys.executable, "-m", "trimtab.app.gateway.worker_program")
CHAT_WORKER = (sys.executable, "-m", "trimtab.app.gateway.chat_program")
TRAINING = (sys.executable, "-m", "trimtab.app.jobs.training_process")
REPRODUCING = ("-m", "trimtab.app.runs.reproducing")
"""The arguments of the Python that the run is made again with."""
APPRISE = (sys.executable, "-P", "-m", "trimtab.app.alerts.apprise_program")
"""Without the present folder among the places of modules: Apprise imports what it finds by many names."""
ALIASES = (sys.executable, "-m", "trimtab.app.rollout.aliases")
READER = (sys.executable, "-m", "trimtab.app.overviews.reads.reader_program")

LOOPBACK = (sys.executable, "-m", "trimtab.llm.loopback")


class AliasOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose aliases to set. It comes on standard input: an environment may hold passwords."""

    project: str
    """Folder of the project."""
    environment: str
    """The policy's Environment as JSON."""
    model: str


class ReaderOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Which project a reader reads. It comes on standard input, as the first line."""

    project: str
    """Folder of the project."""
    environment: str
    """The policy's Environment as JSON."""


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a reader's input after the first. read: name of a function of the reader program."""

    read: str
    arguments: dict[str, Any]


class ReadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a reader's output. error: name of a class of errors.py, or "" for a value."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    text: str = ""
