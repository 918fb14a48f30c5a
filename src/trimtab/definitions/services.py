"""Feature services: named lists of features that models share and that a feature server answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from trimtab.definitions.arguments import check_columns, check_name
from trimtab.definitions.on_demand import OnDemand
from trimtab.definitions.views import FeatureView, Selection
from trimtab.errors import DefinitionError
from trimtab.places import Placed

Feature: TypeAlias = "FeatureView | Selection | OnDemand | str"


@dataclass(frozen=True)
class FeatureService(Placed, Sequence[Feature]):
    """A named list of features, which is also a sequence of them.

    Args:
        name: letters, digits and single underscores.
        features: feature views, some of their features (view[["a", "b"]]), on-demand transforms, and names of request
            columns.
        description: what the service is for.
        owner: the person or team that answers for it.
        tags: words to find it by.

    Raises:
        DefinitionError: an argument is wrong, or two features have one name.

    >>> import trimtab as tt
    >>> flights = tt.FileSource("flights", "flights.parquet", timestamp="scheduled_at", known_at="landed_at")
    >>> view = tt.FeatureView("punctuality", tt.Entity("carrier"), flights, [tt.count("1d"), tt.mean("late", "7d")])
    >>> tt.FeatureService("delays", features=[view[["late_mean_7d"]], "distance"]).feature_names
    ('punctuality__late_mean_7d', 'distance')
    """

    name: str
    features: Sequence[Feature]
    description: str = field(default="", kw_only=True)
    owner: str = field(default="", kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_name("FeatureService", self.name)
        where = f"FeatureService '{self.name}'"
        if isinstance(self.features, str) or not isinstance(self.features, Sequence) or not self.features:
            raise DefinitionError(f"{where}: features is {self.features!r}; expected a list, such as [view]")
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "tags", check_columns(f"{where}: tags", self.tags))
        names = names_of(where, self.features)
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"{where} has two features named '{name}'; remove one")

    def __getitem__(self, place: Any) -> Any:
        """Return a feature by its place."""
        return self.features[place]

    def __len__(self) -> int:
        """Return the number of features."""
        return len(self.features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names, in order."""
        return names_of(f"FeatureService '{self.name}'", self.features)

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """The views that its features are of, each once."""
        return views_of(self.features)


def listed(where: str, features: object) -> tuple[tuple[Feature, ...], tuple[FeatureService, ...]]:
    """Return a model's features with those of services in their place, and the services.

    Raises DefinitionError for what is no list.
    """
    items = [features] if isinstance(features, FeatureService) else features
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise DefinitionError(f"{where}: features is {features!r}; expected a list, such as [{features!r}]")
    flat: list[Feature] = []
    for item in items:
        flat.extend(item.features if isinstance(item, FeatureService) else [item])
    names_of(where, flat)
    return tuple(flat), tuple(item for item in items if isinstance(item, FeatureService))


def names_of(where: str, features: Sequence[object]) -> tuple[str, ...]:
    """Return the full names of a list of features. Raises DefinitionError for what is none."""
    names: list[str] = []
    for item in features:
        if isinstance(item, str):
            names.append(item)
        elif isinstance(item, FeatureView | Selection | OnDemand):
            names.extend(item.feature_names)
        else:
            raise DefinitionError(
                f"{where}: {item!r} is no feature; expected a FeatureView, an on_demand transform "
                "or the name of a request column"
            )
    return tuple(names)


def views_of(features: Sequence[object]) -> tuple[FeatureView, ...]:
    """Return the views of a list of features, each once, in order of first use."""
    found: list[FeatureView] = []
    for item in features:
        view = item.view if isinstance(item, Selection) else item
        if isinstance(view, FeatureView) and view not in found:
            found.append(view)
    return tuple(found)
