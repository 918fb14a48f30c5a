"""Libraries that load at the first use of one of their names: a process that needs none of them starts fast.

    if TYPE_CHECKING:
        import pyarrow as pa
    else:
        pa = LazyLibrary("pyarrow")

For a type checker the name is the library itself. Not for use at import time: `pa.schema(...)` in the body of a module
would load it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyLibrary:
    """Stands for a module, which each access to a name imports."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)
