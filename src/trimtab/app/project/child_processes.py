"""The commands of processes that a gateway or the loop starts, and what they are told."""

import sys

import msgspec

WORKER = (sys.executable, "-m", "trimtab.app.gateway.worker_program")
TRAINING = (sys.executable, "-m", "trimtab.app.jobs.training_process")
REPRODUCING = ("-m", "trimtab.app.runs.reproducing")
"""The arguments of the Python that the run is made again with."""
ALIASES = (sys.executable, "-m", "trimtab.app.rollout.aliases")


class AliasOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose aliases to set. It comes on standard input: an environment may hold passwords."""

    project: str
    """Folder of the project."""
    environment: str
    """The policy's Environment as JSON."""
    model: str
