"""The contract of a connector: it gives the rows of a source that come after a state, in pulls.

Guarantees
- A state says where rows end at their origin, as JSON text. It holds no secret and means the same in every process.
- The rows of a pull are those between the state before and its own state, each complete. A process may end after any
  pull; the next one goes on from the state that the table holds, so no row is lost.
- A state never comes again: with new rows, the state differs from all earlier ones of the source.
- Rows that were given before may be given again only where the source drops equal rows.
- A pull without rows moves the state alone.
- Columns and types are those of the origin, as exact as Polars has them; times may be texts or numbers.
- Errors are DataError (what the origin sent is wrong), Unreachable (a later try may succeed), or MissingExtra.
  Their texts begin with the source and show what the origin said, without a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trimtab.errors import StoreError, Temporary

if TYPE_CHECKING:
    import polars as pl


class Unreachable(StoreError, Temporary):
    """The origin of a source does not answer now."""


@dataclass(frozen=True)
class Pull:
    """The rows that come after a state, and the state after them."""

    frame: pl.DataFrame
    state: str
    label: str
    """Where the rows came from, for reports: "orders: 2026-01-01 .. 2026-01-02", "payments[0] 10..200"."""
    sparse: bool = False
    """True where a column of the table that no row has is null in all of them, as in JSON; else it is an error."""
    moves: bool = False
    """True if the state must be written although the table has all of the rows."""


@dataclass(frozen=True)
class Access:
    """What a connector may use of the project that reads the source."""

    folder: Path
    """The project folder, to which relative paths refer."""
    root: Path
    """Folder of the embedded stores."""
    stream: str | None = None
    """Servers of the environment's broker, or of this machine's; None where none is named and none runs."""
    embedded: bool = False
    """True if `stream` is the broker of this machine, which keeps messages in memory."""


class Connector(Protocol):
    """The rows of one source.

    >>> import polars as pl
    >>> class Numbers:
    ...     def pulls(self, state):
    ...         for n in range(int(state or 0), 3):
    ...             yield Pull(pl.DataFrame({"n": [n]}), state=str(n + 1), label=f"numbers {n}")
    ...     def check(self):
    ...         return "three numbers"
    >>> [pull.frame["n"].to_list() for pull in Numbers().pulls("1")]
    [[1], [2]]
    """

    def pulls(self, state: str | None) -> Iterator[Pull]:
        """Yield what there is after a state, oldest first, and end when there is no more now.

        Args:
            state: where the rows of the table end; None for an empty table.

        Yields:
            Rows with the state after them. A pull is small enough to be held in memory.

        Raises:
            DataError: the origin sent what is not expected.
            Unreachable: the origin does not answer.
        """
        ...

    def check(self) -> str:
        """Return in a few words what the origin has, after asking it. Raises as `pulls`."""
        ...
