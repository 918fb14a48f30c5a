"""Serving: the gateway that answers, logs and takes labels. A supervisor and its workers; app hands them everything.

Names load on first use: the supervisor and a worker each import their own half.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.serving.core.runtime import Vectorizer, VectorizerFactory
    from trimtab.serving.processes.asking import Control
    from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement, GatewayConfig
    from trimtab.serving.processes.supervisor import serve

__all__ = ["ANNOUNCEMENT", "Announcement", "Control", "GatewayConfig", "Vectorizer", "VectorizerFactory", "serve"]

_HOMES = {
    "ANNOUNCEMENT": "processes.listening",
    "Announcement": "processes.listening",
    "Control": "processes.asking",
    "GatewayConfig": "processes.listening",
    "Vectorizer": "core.runtime",
    "VectorizerFactory": "core.runtime",
    "serve": "processes.supervisor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"trimtab.serving.{_HOMES[name]}"), name)
