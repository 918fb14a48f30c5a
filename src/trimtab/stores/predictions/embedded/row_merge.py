"""Merges the rows of several writers by the time of logging, without splitting an append.

Rows are ordered by (time, writer). The time of an append is that of its first row, and never before that of the append
before it. So the order is the same whether rows come from files or from the Delta table, and in blocks of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

Integers = npt.NDArray[np.int64]


class Block(NamedTuple):
    """Some rows of one segment. times, ends: of each row's append; a block holds whole appends."""

    writer: str
    number: int
    rows: pa.Table
    times: Integers
    ends: Integers

    def behind(self, count: int) -> Block:
        """Return the rows behind the first `count`."""
        return self._replace(rows=self.rows.slice(count), times=self.times[count:], ends=self.ends[count:])


Places = dict[str, tuple[int, int]]
"""Writer -> segment and offset."""


def merge(streams: list[Iterator[Block]], limit: int | None, places: Places) -> list[pa.Table]:
    """Return the rows that come first, about `limit` of them, and move the places behind them.

    streams: one a writer, ordered by name; their times never go back.
    """
    heads = [(stream, block) for stream in streams if (block := next(stream, None)) is not None]
    found: list[pa.Table] = []
    left = limit
    while heads and (left is None or left > 0):
        order, source, offered = _order([block for _, block in heads])
        if left is not None and len(order) > left:
            order = order[: _whole(order, source, offered, left)]
        taken = np.bincount(source[order], minlength=len(heads)).tolist()
        offered_rows = [block.rows.slice(0, count) for (_, block), count in zip(heads, taken, strict=True)]
        together = pa.concat_tables(offered_rows)
        found.append(together if len(heads) == 1 else together.take(_rank(order, source, taken)))
        left = None if left is None else left - len(order)
        after: list[tuple[Iterator[Block], Block]] = []
        for (stream, block), count in zip(heads, taken, strict=True):
            if count:
                places[block.writer] = (block.number, int(block.ends[count - 1]))
            rest = block.behind(count) if count < len(block.ends) else next(stream, None)
            if rest is not None:
                after.append((stream, rest))
        heads = after
    return found


def _order(blocks: list[Block]) -> tuple[Integers, Integers, Integers]:
    """Return the order of the rows that no later block can come before, and writer and end of each offered row."""
    last = [int(block.times[-1]) for block in blocks]
    horizon = min(last)
    limiting = last.index(horizon)  # its next block may have rows of this time: they precede those of later writers
    counts = [
        int(np.searchsorted(block.times, horizon, side="right" if n <= limiting else "left"))
        for n, block in enumerate(blocks)
    ]
    offered = list(zip(blocks, counts, strict=True))
    times = np.concatenate([block.times[:count] for block, count in offered])
    ends = np.concatenate([block.ends[:count] for block, count in offered])
    source = np.repeat(np.arange(len(blocks)), counts)
    return np.argsort(times, kind="stable"), source, ends


def _whole(order: Integers, source: Integers, ends: Integers, left: int) -> int:
    """Return how many rows to take so that no append is split."""
    last = order[left - 1]
    behind = order[left:]
    same = (source[behind] == source[last]) & (ends[behind] == ends[last])
    return left + (len(same) if same.all() else int(np.argmin(same)))


def _rank(order: Integers, source: Integers, taken: list[int]) -> Integers:
    """Return for each row of the order its place in the taken rows of all writers, one writer after another."""
    starts = np.concatenate([[0], np.cumsum(taken)[:-1]])
    own = source[order]
    rank = np.empty(len(order), dtype=np.int64)
    for writer, start in enumerate(starts):
        mine = own == writer
        rank[mine] = start + np.arange(int(mine.sum()))
    return rank
