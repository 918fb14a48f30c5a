"""Stand-ins for libraries that are imported at the first use of one of their names, so that processes start fast.

    if TYPE_CHECKING:
        import pyarrow as pa
    else:
        pa = LazyLibrary("pyarrow")

For a type checker the name is the library itself. Do not use such a name in the body of a module: that imports the
library when the module is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyLibrary:
    """Stands for a module. Each access to one of its names imports the module."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)
