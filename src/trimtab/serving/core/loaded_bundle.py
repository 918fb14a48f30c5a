"""A bundle in memory: verified against its digest, opened, and warmed up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from trimtab.bundle.limits import InputCheck, ask_scorer
from trimtab.bundle.manifest import verify
from trimtab.bundle.request_checks import RequestChecks
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, read_spec
from trimtab.bundle.typed_matrix import zero_rows
from trimtab.bundle.typed_packing import feature_schema
from trimtab.errors import DataError, TrimtabError
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.shadow_process import open_shadow
from trimtab.serving.orders import BundleOrder
from trimtab.tasks import RULES

BATCH_ROWS = 32
WARM_UP_ROWS = (1, 2, *[BATCH_ROWS] * 3, *[1] * 8)
"""Sizes scored before a bundle serves: ONNX Runtime plans its memory on the first run of each shape."""
INLINE_NS = 500_000
"""A model that takes longer for one row scores in a thread of its own instead of on the event loop."""
QUICK_NS, QUICK_BATCH_NS = 100_000, 300_000
"""A model that takes longer for one row, or for BATCH_ROWS, is not compared on the event loop, where answers wait
meanwhile, but in a thread, or in a process when it is a shadow. Below, that would cost more than it spares."""


UNASKED = (
    "bundle %s was packaged before estimators were asked which values they take: for missing values it may serve "
    "other scores than its estimator gives. Train it again"
)

NOTHING = RequestChecks({})
logger = logging.getLogger(__name__)


class Vectorizer(Protocol):
    """Turns what a request brings into what a model takes."""

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return float32 (rows, features), each row as of its time `at` (microseconds since the epoch).

        Rows do not depend on one another: rows of several requests may come in one call.
        Raises DataError when a value cannot be used.
        """
        ...


VectorizerFactory = Callable[[Path, Spec], Vectorizer]
"""Makes the vectorizer of a bundle from its folder and its spec."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, weakref_slot=True)
class LoadedBundle:
    """A bundle that is ready to score."""

    id: str
    version: int
    digest: str
    spec: Spec
    scorer: Scorer
    vectorizer: Vectorizer
    recipe: tuple[object, ...]
    """What its vectors depend on: bundles with equal recipes share vectors."""
    folder: Path
    check: InputCheck | None = None
    """Refuses values that the model does not take; None when it takes all."""
    expects: RequestChecks = NOTHING
    """What request columns are expected to hold."""
    typed: bool = False
    """Whether some features are no plain numbers: its rows are logged with their exact values."""
    by_class: bool = False
    """Whether it gives the probability of each class."""
    inline: bool = True
    """Whether it is quick enough to score answers on the event loop."""
    quick: bool = True
    """Whether it is so quick that comparisons may be scored there, too."""
    aside: bool = False
    """Whether it scores in a process of its own that gives way to all others, so that no client may wait for it."""


def load_bundle(
    order: BundleOrder, vectorizer_factory: VectorizerFactory, *, trust: Collection[str] = (), aside: bool = False
) -> LoadedBundle:
    """Verify, open and warm up a bundle.

    aside: no client gets its answers; unless it is quick it scores in a process of its own at the lowest priority.
    Nothing of the folder is opened before its digest was checked. Raises a TrimtabError that names the bundle.
    """
    folder = Path(order.folder)
    try:
        if order.digest:
            verify(folder, order.digest)
        spec = order.spec or read_spec(folder)
        if spec.model != order.model:
            raise DataError(f"{folder}: made for model '{spec.model}', registered for '{order.model}'")
        scorer = open_scorer(folder, spec, trust=trust, low_priority=aside)
        by_class = RULES[spec.task].by_class
        pace = warm_up(scorer, spec, classes=len(spec.classes) if by_class else None)
        limits = spec.limits
        if limits is None:
            limits = ask_scorer(scorer, spec.features)
            if order.digest:
                logger.warning(UNASKED, order.id)
        vectorizer = vectorizer_factory(folder, spec)
        quick = scorer.in_process and pace.row_ns <= QUICK_NS and pace.batch_ns <= QUICK_BATCH_NS
        aside = aside and not quick
        if aside and scorer.in_process:
            scorer = open_shadow(folder, spec, scorer, digest=order.digest, trust=trust)
    except TrimtabError as error:
        raise DataError(f"bundle {order.id} cannot be loaded: {error}") from error
    except (Exception, SystemExit) as error:  # strangers' code: ONNX Runtime and the project's transforms
        raise DataError(f"bundle {order.id} cannot be loaded: {type(error).__name__}: {error}") from error
    return LoadedBundle(
        id=order.id,
        version=order.version,
        digest=order.digest,
        spec=spec,
        scorer=scorer,
        vectorizer=vectorizer,
        recipe=(spec.features, spec.views, spec.code_hash, id(feature_schema(spec))),
        folder=folder,
        check=InputCheck(spec.features, limits) if limits else None,
        expects=RequestChecks(spec.checks),
        typed=bool(spec.feature_types),
        by_class=by_class,
        inline=scorer.in_process and pace.row_ns <= INLINE_NS and not aside,
        quick=quick,
        aside=aside,
    )


class Pace(NamedTuple):
    """Nanoseconds that a model takes at best."""

    row_ns: int
    """For one row."""
    batch_ns: int
    """For BATCH_ROWS."""


def warm_up(scorer: Scorer, spec: Spec, *, classes: int | None = None) -> Pace:
    """Score some rows of zeros; return how long that took.

    classes: of a multiclass model. Raises DataError when the model does not take rows of the spec's features, or does
    not give one score a row and class.
    """
    best: dict[int, int] = {}
    features = len(spec.features)
    for rows in WARM_UP_ROWS:
        start = time.perf_counter_ns()
        try:
            scores = scorer.score(zero_rows(feature_schema(spec), rows, features))
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise DataError(f"the model does not score rows of {features} features: {error}") from error
        took = time.perf_counter_ns() - start
        best[rows] = min(took, best.get(rows, took))
        if scores.shape != ((rows,) if classes is None else (rows, classes)):
            each = "a row" if classes is None else f"a row for each of {classes} classes"
            raise DataError(f"the model gave {scores.shape} scores for {rows} rows; expected one {each}")
    return Pace(best[1], best[BATCH_ROWS])
