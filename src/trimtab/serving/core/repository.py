"""The models of a gateway as its clients see them, and their wishes to load or unload one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trimtab.errors import nearest
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.requests import ModelState, Refused

WAIT_S, LOOK_S = 30.0, 0.02


class Repository:
    """The models of a gateway. `hold` asks for a change on all workers; it shows in the table some time later."""

    def __init__(self, table: Callable[[], RoutingTable]) -> None:
        self._table = table
        self.hold: Callable[[str, bool], None] | None = None
        """Told (model, True) to unload and (model, False) to load; None where models cannot be unloaded."""

    def index(self) -> list[ModelState]:
        """Return every version that is loaded, and every model that is not."""
        table = self._table()
        found = [
            ModelState(name, str(version), "READY", "")
            for name, model in sorted(table.models.items())
            for version in model.versions
        ]
        missing = {name: error for name, error in table.reasons.items() if name not in table.models}
        missing |= dict.fromkeys(table.held, "unloaded")
        return found + [ModelState(name, "", "UNAVAILABLE", reason) for name, reason in sorted(missing.items())]

    async def load(self, model: str) -> None:
        """Serve a model again that was unloaded; one that serves goes on. Raises Refused."""
        if model not in self._table().models:
            await self._change(model, held=False)

    async def unload(self, model: str) -> None:
        """Stop serving a model until it is loaded again, or the gateway starts again. Raises Refused."""
        if model not in self._table().held:
            await self._change(model, held=True)

    async def _change(self, model: str, *, held: bool) -> None:
        table = self._table()
        known = {*table.models, *table.errors, *table.held}
        if model not in known:
            raise Refused(404, f"no model '{model:.100}'.{nearest(model[:100], known)}")
        if self.hold is None:
            raise Refused(501, "models of this gateway cannot be loaded or unloaded")
        self.hold(model, held)
        waited = 0.0
        while (model in self._table().held) != held or (not held and model not in self._table().models):
            if not held and (error := self._table().errors.get(model)):
                raise Refused(503, f"model '{model}' cannot be loaded: {error}")
            if waited > WAIT_S:
                raise Refused(504, f"model '{model}' is not {'unloaded' if held else 'loaded'} yet")
            await asyncio.sleep(LOOK_S)
            waited += LOOK_S
