"""What a Feast repository defines, read by a Python that has Feast; see feast_reader.py."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import msgspec

from trimtab.errors import StageError, UsageError

READER = Path(__file__).with_name("feast_reader.py")
CONFIGURATION = "feature_store.yaml"
NO_FEAST = 3
"""Exit code of a Python that cannot import feast."""
START = (
    "import importlib.util, runpy, sys\n"
    f"if importlib.util.find_spec('feast') is None: sys.exit({NO_FEAST})\n"
    "sys.argv = sys.argv[1:]; sys.path.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
)
MOST_LINES = 15
"""Last lines of the reader's messages that an error shows."""


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What all objects have."""

    name: str
    description: str = ""
    owner: str = ""
    tags: dict[str, str] = {}


class Entity(Described, frozen=True, kw_only=True):
    """An entity with its one join key."""

    join_key: str


class DataSource(Described, frozen=True, kw_only=True):
    """A source. kind: its class; format, message: classes of the file's and the messages' format."""

    kind: str
    timestamp: str = ""
    created: str = ""
    field_mapping: dict[str, str] = {}
    path: str = ""
    format: str = ""
    endpoint: str = ""
    batch_source: str = ""
    topic: str = ""
    servers: str = ""
    message: str = ""
    table: str = ""
    query: str = ""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A feature. type: name of Feast's value type, such as INT64."""

    name: str
    type: str
    description: str = ""


class Aggregated(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregation. window, slide: microseconds, 0 for none. name: of the feature."""

    column: str = ""
    function: str = ""
    window: int = 0
    slide: int = 0
    name: str = ""


class View(Described, frozen=True, kw_only=True):
    """A feature view with stored values. ttl: microseconds, 0 for none. problem: why its fields are not known."""

    kind: str
    source: str = ""
    stream_source: str = ""
    over: list[str] = []
    entities: list[str] = []
    join_keys: list[str] = []
    ttl: int = 0
    fields: list[Field] = []
    problem: str = ""
    timestamp: str = ""
    aggregations: list[Aggregated] = []
    code: str = ""


class OnDemandView(Described, frozen=True, kw_only=True):
    """A transform. takes: view:feature, or a column of the request."""

    mode: str = ""
    takes: list[str] = []
    gives: list[str] = []
    code: str = ""


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """Features of one view in a service."""

    name: str
    alias: str = ""
    features: list[str] = []
    join_keys: dict[str, str] = {}


class Service(Described, frozen=True, kw_only=True):
    """A feature service. unresolved: references by text alone, such as view:feature."""

    unresolved: list[str] = []
    views: list[Projection] = []


class Other(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a kind that has no counterpart here."""

    kind: str
    name: str


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """All of a repository. feast: version of the Feast that read it. connection: where the offline store is."""

    feast: str
    project: str
    offline_store: str = ""
    connection: dict[str, str | int] = {}
    entities: list[Entity] = []
    sources: list[DataSource] = []
    views: list[View] = []
    on_demand: list[OnDemandView] = []
    services: list[Service] = []
    others: list[Other] = []


def read_repository(folder: Path, python: Path | None) -> Repository:
    """Run the Python files of a Feast repository, as `feast apply` does, and return what they define.

    Args:
        folder: has feature_store.yaml.
        python: a Python that can import feast; None: the one that runs, if it can.

    Raises:
        UsageError: there is no such repository, or the Python cannot import feast.
        StageError: Feast cannot read the repository.
    """
    if not (folder / CONFIGURATION).is_file():
        found = sorted(folder.glob(f"*/{CONFIGURATION}")) if folder.is_dir() else []
        hint = f" Did you mean '{found[0].parent}'?" if found else ""
        raise UsageError(f"{folder / CONFIGURATION}: no such file; expected the folder of a Feast repository.{hint}")
    if python is None and find_spec("feast") is None:
        raise UsageError(
            "reading a Feast repository takes Feast, and this Python has none. Name the Python of an environment that "
            "has it: --python PATH, such as .venv/bin/python of the repository"
        )
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "repository.json"
        command = [str(python or sys.executable), "-c", START, str(READER), str(folder), str(file)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        except OSError as error:
            raise UsageError(f"--python '{python}' cannot be run: {error.strerror}") from None
        if done.returncode == NO_FEAST:
            raise UsageError(f"--python '{python}' cannot import feast; expected the Python of an environment with it")
        if done.returncode:
            said = "\n".join(done.stderr.rstrip().splitlines()[-MOST_LINES:])
            raise StageError(f"Feast cannot read {folder}:\n{said}")
        return msgspec.json.decode(file.read_bytes(), type=Repository)
