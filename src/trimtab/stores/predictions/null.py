"""A prediction log that keeps nothing, `none:`, for a gateway that serves a folder of bundles without a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.errors import UsageError
from trimtab.stores.faults import Fault
from trimtab.stores.predictions.arrow_rows import empty_table
from trimtab.stores.predictions.contract import START, Compaction, Count, Cursor, ErasedBy, Predictions

if TYPE_CHECKING:
    import pyarrow as pa


class NoTurns:
    """The verbs of turns and contents of a log that keeps none."""

    def append_turns(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Drop them."""

    def append_contents(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Drop them."""

    def read_turns(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return no rows."""
        return empty_table("turns"), after

    def read_contents(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return no rows."""
        return empty_table("contents"), after

    def find_turns(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return no rows."""
        return []

    def find_contents(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return no rows."""
        return []

    def erase_contents(self, by: ErasedBy, value: str) -> int:
        """Return 0."""
        return 0


class NullLog(NoTurns):
    """Drops predictions; refuses labels, so that their sender does not believe that they were kept."""

    def __init__(self, url: str = "none:", **options: Any) -> None:
        del url, options

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        return

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        raise UsageError(
            "no predictions are kept here that could be labelled; give the gateway a place for them: --log FOLDER, or "
            "`predictions` of the environment in trimtab.yaml"
        )

    def sync(self) -> None:
        return

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return empty_table("predictions"), after

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return empty_table("labels"), after

    def tail(self, rows: int) -> Cursor:
        return START

    def count(self) -> Count:
        return Count()

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        return []

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        return []

    def compact(self, *, grace_s: float, keep_s: float, contents_s: float | None = None) -> Compaction:
        return Compaction(reason="nothing is kept")

    def check(self) -> Sequence[Fault]:
        return []

    def close(self) -> None:
        return


_: type[Predictions] = NullLog
