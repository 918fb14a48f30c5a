"""What serves at a moment: an immutable table that is swapped whole. Made by loading, read by gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from trimtab.errors import nearest
from trimtab.records.record import Role
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.router import Split, point
from trimtab.serving.orders import ModelOrder
from trimtab.serving.requests import InferenceRequest, Refused, without_folders

LaneRole = Role | Literal["fallback"]
ORDER: tuple[LaneRole, ...] = ("champion", "challenger", "shadow", "fallback")


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One bundle in one role of one revision."""

    role: LaneRole
    bundle: LoadedBundle
    weight: float = 0.0


class ModelTable:
    """The lanes of one model under one revision, champion first.

    sticky: request columns whose values pin a row to a role; None takes the champion's entity keys.
    warm: bundles that are loaded but have no role, such as the previous champion; a request that names
    their version is answered by them, as by a shadow.
    """

    def __init__(
        self,
        model: str,
        revision: int,
        lanes: Sequence[Lane],
        *,
        sticky: Sequence[str] | None = None,
        warm: Sequence[LoadedBundle] = (),
    ) -> None:
        self.model = model
        self.revision = revision
        self.lanes = tuple(sorted(lanes, key=lambda lane: (ORDER.index(lane.role), lane.bundle.version)))
        self.champion = self.lanes[0]
        self.spec = self.champion.bundle.spec
        self.sticky = tuple(self.spec.entity_keys if sticky is None else sticky)
        self.warm = tuple(warm)
        self.bundles = (*(lane.bundle for lane in self.lanes), *self.warm)
        self._before = tuple(Lane("fallback", bundle) for bundle in warm)
        weights = [0.0 if lane.role == "shadow" else lane.weight for lane in self.lanes]
        self._split = Split(weights if sum(weights) > 0 else [1.0] + [0.0] * (len(self.lanes) - 1))
        self._by_version = {bundle.version: Lane("shadow", bundle) for bundle in warm}
        self._by_version |= {lane.bundle.version: lane for lane in reversed(self.lanes)}

    @property
    def versions(self) -> list[int]:
        """Versions that can be asked for by number."""
        return sorted(self._by_version)

    def serves(self, order: ModelOrder) -> bool:
        """Tell whether this is what an order asks for."""
        return self.revision == order.revision and len(self.lanes) == len(order.lanes)

    def with_warm(self, warm: Sequence[LoadedBundle]) -> ModelTable:
        """Return the same table with other bundles kept warm."""
        return ModelTable(self.model, self.revision, self.lanes, sticky=self.sticky, warm=warm)

    def fallbacks(self, lane: Lane, *, previous_champion: bool) -> tuple[Lane, ...]:
        """Return who answers for a lane that failed, in order: the champion, then the champion before."""
        champion = () if lane.bundle is self.champion.bundle or lane.role == "fallback" else (self.champion,)
        before = self._before if previous_champion else ()
        return tuple(other for other in (*champion, *before) if other.bundle is not lane.bundle)

    def lane(self, version: str | None) -> Lane | None:
        """Return the lane of a version named in a path, None without one. Raises Refused (404)."""
        if version is None:
            return None
        found = self._by_version.get(int(version)) if version.isdecimal() and len(version) < 10 else None
        if found is None:
            raise Refused(404, f"model '{self.model}' has no version '{version}' loaded; loaded: {self.versions}")
        return found

    def lanes_of(self, request: InferenceRequest, request_id: str) -> list[Lane]:
        """Return the lane that answers each row."""
        if self._split.sole is not None:
            return [self.lanes[self._split.sole]] * request.rows
        keys = [request.columns[name] for name in self.sticky if name in request.columns]
        if not keys:
            return [self._usable(point(self.model, (request_id,)), request)] * request.rows
        return [
            self._usable(point(self.model, values if values != nothing else (request_id,)), request)
            for nothing in [(None,) * len(keys)]
            for values in zip(*keys, strict=True)
        ]

    def _usable(self, at: float, request: InferenceRequest) -> Lane:
        lane = self.lanes[self._split.choose(at)]
        if request.features is not None and lane.bundle.spec.features != self.spec.features:
            return self.champion  # features came in the champion's order
        return lane


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All models. errors: of models whose newest revision could not be loaded, why; an older one may serve."""

    models: Mapping[str, ModelTable] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    """Models that were unloaded by request."""
    complete: bool = False
    """True once the metadata store was read and the champion of every model with a revision serves."""

    @property
    def ready(self) -> bool:
        """Whether requests can be sent: every model with a revision serves, and not all of them were unloaded."""
        return self.complete and (bool(self.models) or not self.held)

    @property
    def reasons(self) -> dict[str, str]:
        """Why models do not serve as they should, as clients are told."""
        return {name: without_folders(error) for name, error in self.errors.items()}

    @property
    def only(self) -> str | None:
        """The model that a request is about when it names none; None unless there is just one."""
        names = self.models.keys() | self.errors.keys()
        return next(iter(names)) if len(names) == 1 else None

    def model(self, name: str | None) -> ModelTable:
        """Return the table of `name`, or of the only model. Raises Refused (404, 503)."""
        if name is None:
            if self.only is not None:
                return self.model(self.only)
            names = sorted({*self.models, *self.errors})
            if not names:
                raise Refused(503, "no model is deployed yet")
            raise Refused(400, f"{len(names)} models are served; name one in the header X-Trimtab-Model: {names}")
        table = self.models.get(name)
        if table is not None:
            return table
        if name in self.errors:
            raise Refused(503, f"model '{name}' is not ready: {self.errors[name]}")
        if name in self.held:
            raise Refused(404, f"model '{name}' was unloaded; load it with POST /v2/repository/models/{name}/load")
        raise Refused(404, f"no model '{name:.100}'.{nearest(name[:100], {*self.models, *self.errors})}")
