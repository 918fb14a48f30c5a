"""What streams are made of: messages in micro-batches, and where the rows of a table end in its topic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from trimtab.data.connectors.message_rows import Message
from trimtab.errors import StoreError, Temporary

if TYPE_CHECKING:
    import pyarrow as pa


class BrokerAway(StoreError, Temporary):
    """The brokers do not answer, or have no such topic yet."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that were gone before they were read, or a topic that was made anew."""

    epoch: int
    """Epoch that begins with it, or goes on."""
    partition: int | None
    """None: the topic as a whole."""
    first: int = 0
    last: int = 0
    """Offsets that are gone."""
    reason: str


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows of a table end in their topic; stored as JSON with the rows."""

    topic: str
    topic_id: str | None = None
    epoch: int = 0
    """Grows by one each time the topic was made anew."""
    offsets: dict[int, int] = {}
    """Next offset by partition; a partition that is not here begins at its oldest message."""
    messages: dict[int, int] = {}
    """Messages read by partition, in all epochs."""
    losses: tuple[Loss, ...] = ()
    """The newest ones."""
    lost: int = 0
    """How many losses there were in all."""


@dataclass(frozen=True)
class MicroBatch:
    """Messages after a state, in the order of each partition, and the state after them."""

    messages: list[Message]
    state: str
    label: str
    lag: int | None = None
    """Messages that the origin has after them, as far as it has said; None when it has not."""
    oldest_ms: int | None = None
    """Timestamp of the oldest message, in milliseconds since 1970."""


class MessageStream(Protocol):
    """Messages from a state on, for as long as the caller asks. Not shared between threads."""

    @property
    def caught_up(self) -> bool:
        """True if all messages that there were at the last look were taken."""
        ...

    def take(self, *, wait_s: float, until_end: bool = False) -> MicroBatch | None:
        """Return the next micro-batch, or None if no message comes within `wait_s`."""
        ...

    def landed(self) -> None:
        """Tell the origin where the rows of the table end, for people who look at it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class StreamConnector(ABC):
    """A connector whose rows come as messages. decode, metadata: as in `RowReader`."""

    decode: Callable[[bytes], dict[str, Any]] | None = None
    metadata: Mapping[str, pa.DataType]

    @abstractmethod
    def follow(self, state: str | None) -> MessageStream:
        """Return the messages after a state. Raises StoreError."""

    @abstractmethod
    def pulls(self, state: str | None) -> Iterator[MicroBatch]:
        """Yield the messages after a state, up to those that there are now. Raises StoreError."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the origin needs before messages can come, such as a topic on this machine's broker."""

    @abstractmethod
    def check(self) -> str:
        """Return in a few words what the origin has, after asking it. Raises StoreError."""
