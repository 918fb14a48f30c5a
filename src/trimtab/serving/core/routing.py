"""Which variant answers a row: immutable tables of models, versions and roles, and a sticky split of the traffic.

A row's sticky values are hashed to a point in [0, 1); the roles divide that interval in order, the champion first. So a
value keeps its role as long as the weights stay, and when a weight changes only the rows between the old and the new
border move. A new table replaces the old one whole, between two requests.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import Literal

from trimtab.errors import nearest
from trimtab.records.record import Role
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.orders import ModelOrder
from trimtab.serving.requests import InferenceRequest, Refused, without_folders

VariantRole = Role | Literal["fallback"]
ORDER: tuple[VariantRole, ...] = ("champion", "challenger", "shadow", "fallback")


_SCALE = 2.0**-53


def point(salt: str, values: Iterable[object]) -> float:
    """Return the place in [0, 1) of some sticky values, the same in every process and for ever.

    salt: name of the model, so that an entity is not in the challenger's share of every model at once.
    """
    text = "\x1f".join([salt, *map(key_text, values)])
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * _SCALE


def key_text(value: object) -> str:
    """Return one text for 7, 7.0 and "7": clients of different protocols send the same key differently."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Split:
    """The interval [0, 1) divided by weights, which are shares or percent; some weight must be positive."""

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        if not weights or total <= 0 or min(weights) < 0:
            raise ValueError(f"weights {list(weights)} do not divide traffic; expected at least one above zero")
        self._borders = [border / total for border in accumulate(weights)]
        self._last = max(n for n, weight in enumerate(weights) if weight > 0)
        self.sole = self._last if sum(weight > 0 for weight in weights) == 1 else None
        """Number of the only weight above zero, or None; with it nothing needs to be hashed."""

    def choose(self, at: float) -> int:
        """Return the number of the weight whose part holds `at`; a weight of zero holds nothing."""
        return min(bisect_right(self._borders, at), self._last)


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One bundle in one role of one revision."""

    role: VariantRole
    bundle: LoadedBundle
    weight: float = 0.0


class ModelTable:
    """The variants of one model under one revision, champion first.

    sticky: request columns whose values pin a row to a role; None takes the champion's entity keys.
    cuts: streams of versions that have no role any more end at once.
    warm: bundles that are loaded but have no role, such as the previous champion; a request that names
    their version is answered by them, as by a shadow.
    """

    def __init__(
        self,
        model: str,
        revision: int,
        variants: Sequence[Variant],
        *,
        sticky: Sequence[str] | None = None,
        warm: Sequence[LoadedBundle] = (),
        cuts: bool = False,
    ) -> None:
        self.model = model
        self.revision = revision
        self._cuts = cuts
        self.variants = tuple(sorted(variants, key=lambda variant: (ORDER.index(variant.role), variant.bundle.version)))
        self.champion = self.variants[0]
        self.spec = self.champion.bundle.spec
        self.sticky = tuple(self.spec.entity_keys if sticky is None else sticky)
        self.warm = tuple(warm)
        self.bundles = (*(variant.bundle for variant in self.variants), *self.warm)
        self._before = tuple(Variant("fallback", bundle) for bundle in warm)
        weights = [0.0 if variant.role == "shadow" else variant.weight for variant in self.variants]
        self._split = Split(weights if sum(weights) > 0 else [1.0] + [0.0] * (len(self.variants) - 1))
        self._by_version = {bundle.version: Variant("shadow", bundle) for bundle in warm}
        self._by_version |= {variant.bundle.version: variant for variant in reversed(self.variants)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes that a loaded version knows; the champion's first, in their order."""
        return tuple(dict.fromkeys(name for bundle in self.bundles for name in bundle.spec.classes))

    @property
    def versions(self) -> list[int]:
        """Versions that can be asked for by number."""
        return sorted(self._by_version)

    def serves(self, order: ModelOrder) -> bool:
        """Return True if this is what an order asks for."""
        return self.revision == order.revision and len(self.variants) == len(order.variants)

    def with_warm(self, warm: Sequence[LoadedBundle]) -> ModelTable:
        """Return the same table with other bundles kept warm."""
        return ModelTable(self.model, self.revision, self.variants, sticky=self.sticky, warm=warm, cuts=self._cuts)

    def withdraws(self, version: int) -> bool:
        """Return True if streams that this version is answering must end at once."""
        return self._cuts and all(variant.bundle.version != version for variant in self.variants)

    def fallbacks(self, variant: Variant, *, previous_champion: bool) -> tuple[Variant, ...]:
        """Return who answers for a variant that failed, in order: the champion, then the champion before."""
        champion = () if variant.bundle is self.champion.bundle or variant.role == "fallback" else (self.champion,)
        before = self._before if previous_champion else ()
        return tuple(other for other in (*champion, *before) if other.bundle is not variant.bundle)

    def variant(self, version: str | None) -> Variant | None:
        """Return the variant of a version named in a path, None without one. Raises Refused (404)."""
        if version is None:
            return None
        found = self._by_version.get(int(version)) if version.isdecimal() and len(version) < 10 else None
        if found is None:
            raise Refused(404, f"model '{self.model}' has no version '{version}' loaded; loaded: {self.versions}")
        return found

    def variants_of(self, request: InferenceRequest, request_id: str) -> list[Variant]:
        """Return the variant that answers each row."""
        if self._split.sole is not None:
            return [self.variants[self._split.sole]] * request.rows
        keys = [request.columns[name] for name in self.sticky if name in request.columns]
        if not keys:
            return [self._usable(point(self.model, (request_id,)), request)] * request.rows
        return [
            self._usable(point(self.model, values if values != nothing else (request_id,)), request)
            for nothing in [(None,) * len(keys)]
            for values in zip(*keys, strict=True)
        ]

    def variant_at(self, at: float) -> Variant:
        """Return the variant whose share holds a place in [0, 1), as `point` gives it."""
        return self.variants[self._split.choose(at)]

    def _usable(self, at: float, request: InferenceRequest) -> Variant:
        variant = self.variant_at(at)
        if request.features is not None and variant.bundle.spec.features != self.spec.features:
            return self.champion  # features came in the champion's order
        return variant


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
