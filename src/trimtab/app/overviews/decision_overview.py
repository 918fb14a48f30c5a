"""What the page of decisions shows: what waits, what was decided, the cells of the matrix, the check of the chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec

from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.overviews.loop_overview import Waiting, waiting_decisions
from trimtab.app.overviews.model_overview import DecisionGroup, decision_groups
from trimtab.app.overviews.model_words import done, why
from trimtab.app.overviews.wording import count, money, sentence, window_name
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import (
    ACTIONS,
    BRAKES,
    DecisionFilter,
    DecisionOutcome,
    Effect,
    MatrixCell,
    State,
    count_cells,
    effect_of,
    list_decisions,
)
from trimtab.control.ledger import verify_chain
from trimtab.errors import StoreError
from trimtab.records.control import Decision, Trigger
from trimtab.records.record import Action, Level
from trimtab.units import plural

PAGE_ROWS = 50
CHECKED = 100
"""Newest decisions of each model whose chain is checked when the page is opened."""


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. held_by: word for the brake; empty when none held it, "not known" in records of older releases."""

    id: str
    model: str
    number: int
    version: int
    window: str
    start: datetime
    end: datetime
    band: str
    tone: Tone
    impact: Level
    impact_per_day: float
    p_seq: float
    p: float
    cell: Action
    action: Action
    trigger: Trigger
    effect: Effect
    held_by: str
    held_until: datetime | None
    done: str
    why: str
    state: State
    became: str
    answered: str
    answered_by: str
    hash: str
    previous_hash: str
    decided_at: datetime


class ChainCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The hash chains of the decisions. checked: decisions whose hashes and links were computed again. broken: what
    does not fit; empty when all fits. head: hash of the newest decision."""

    checked: int
    total: int
    broken: str
    head: str


class DecisionOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The page of decisions. acted, raised, held: of all that match, not of the page. refreshed: the policy refreshes
    models, so the matrix is not what says retrain. next: id of the last decision of the page; None on the last one."""

    sentence: str
    total: int
    acted: int
    raised: int
    held: int
    refreshed: bool
    currency: str
    waits: tuple[Waiting, ...]
    cells: tuple[MatrixCell, ...]
    cells_note: str
    """How many windows the cells count, and which decisions they leave out."""
    held_by: tuple[tuple[str, str, int], ...]
    """Name and word of each brake, and how many decisions it held back, the most first."""
    rows: tuple[DecisionRow, ...]
    groups: tuple[DecisionGroup, ...]
    """The rows, equal neighbours as one."""
    next: str | None
    chain: ChainCheck
    models: tuple[str, ...]
    bands: tuple[str, ...]


def decision_overview(
    workspace: Workspace,
    wanted: DecisionFilter,
    *,
    limit: int = PAGE_ROWS,
    before: str | None = None,
    whole: bool = False,
) -> DecisionOverview:
    """Return the page of decisions.

    Args:
        workspace: an open project.
        wanted: which decisions.
        limit: most rows of the page.
        before: id of the last decision of the page before.
        whole: check the whole chain; by default its newest part.

    Raises:
        NotFound: no decision has the id `before`.
        DefinitionError: the wanted model does not exist.
    """
    policy = workspace.project.policy
    names = tuple(workspace.project.definitions.served)
    some = (wanted.model,) if isinstance(wanted.model, str) else wanted.model
    wanted_names = names if some is None else tuple(workspace.served(name).name for name in some)
    found = list_decisions(workspace, wanted, limit=limit + 1, before=before)
    page = found[:limit]
    (total, acted, raised, held), brakes = _counts(workspace, wanted)
    waits = waiting_decisions(workspace, wanted_names)
    counts = count_cells(workspace, wanted)
    chain = check_chain(workspace, wanted_names, whole=whole)
    return DecisionOverview(
        sentence=_sentence(waits, (total, acted, raised, held), chain, policy.impact.currency),
        total=total,
        acted=acted,
        raised=raised,
        held=held,
        refreshed=policy.retrain.refresh is not None,
        currency=policy.impact.currency,
        waits=waits,
        cells=tuple(counts.cells),
        cells_note=counts.note,
        held_by=brakes,
        rows=tuple(decision_row(workspace, one) for one in page),
        groups=decision_groups(policy, [one.decision for one in page]),
        next=page[-1].decision.id if len(found) > limit else None,
        chain=chain,
        models=names if some is None or isinstance(wanted.model, str) else wanted_names,
        bands=tuple(policy.decide.matrix.root),
    )


def decision_row(workspace: Workspace, one: DecisionOutcome) -> DecisionRow:
    """Return a decision with its outcome as a row."""
    d, answer = one.decision, one.resolution
    return DecisionRow(
        id=d.id,
        model=d.model,
        number=d.number,
        version=d.version,
        window=window_name(d.start, d.end) if d.end > d.start else "",
        start=d.start,
        end=d.end,
        band=d.band,
        tone=band_tone(workspace.project.policy.decide.matrix, d.band),
        impact=d.impact,
        impact_per_day=d.impact_per_day,
        p_seq=d.p_seq,
        p=d.p,
        cell=d.cell,
        action=d.action,
        trigger=d.trigger,
        effect=effect_of(d),
        held_by=held_by(d),
        held_until=d.held_until,
        done=done(d),
        why=why(d),
        state=one.state,
        became=one.became,
        answered="" if answer is None else answer.verdict,
        answered_by="" if answer is None else answer.by,
        hash=d.hash,
        previous_hash=d.previous_hash,
        decided_at=d.created_at,
    )


def held_by(decision: Decision) -> str:
    """Return the word for the brake that held a decision back; empty when none did."""
    if decision.held_by is None:
        return "not known" if effect_of(decision) == "held_back" else ""
    return BRAKES.get(decision.held_by, decision.held_by.replace("_", " "))


def check_chain(workspace: Workspace, models: Sequence[str], *, whole: bool) -> ChainCheck:
    """Compute hashes and links of the decisions again, of each model the newest CHECKED or all of them."""
    checked, total, broken, newest = 0, 0, "", None
    for model in models:
        found = list(workspace.metadata.find(Decision, model=model, limit=None if whole else CHECKED + 1))
        total += found[0].number if found else 0
        before = found[CHECKED] if not whole and len(found) > CHECKED else None
        part = found if before is None else found[:CHECKED]
        try:
            verify_chain(reversed(part), after=before)
        except StoreError as error:
            broken = broken or str(error)
        checked += len(part)
        if found and (newest is None or found[0].created_at > newest.created_at):
            newest = found[0]
    return ChainCheck(checked=checked, total=total, broken=broken, head="" if newest is None else newest.hash)


def _counts(
    workspace: Workspace, wanted: DecisionFilter
) -> tuple[tuple[int, int, int, int], tuple[tuple[str, str, int], ...]]:
    """Return how many decisions match, how many of them did something, more, and less than was said; and how many each
    brake held back."""
    metadata, where = workspace.metadata, wanted.where
    if not wanted.store_finds_all:
        found = [one.decision for one in list_decisions(workspace, wanted, limit=None)]
    else:
        parts = [where | {"action": ACTIONS[1:]}, where | {"action": "monitor", "cell": ACTIONS[1:]}]
        parts.append(where | {"action": "monitor", "cell": "monitor", "held_by": tuple(BRAKES)})
        narrowed = where.keys() & {"action", "cell", "held_by"}
        found = [d for part in ([where] if narrowed else parts) for d in metadata.find(Decision, **part)]
    effects = [effect_of(d) for d in found]
    total = metadata.count(Decision, **where) if wanted.store_finds_all else len(found)
    acted = sum(d.action != "monitor" for d in found)
    by = Counter(d.held_by for d in found if d.held_by)
    brakes = tuple((name, BRAKES.get(name, name), number) for name, number in by.most_common())
    return (total, acted, effects.count("raised"), effects.count("held_back")), brakes


def _sentence(waits: Sequence[Waiting], counts: tuple[int, int, int, int], chain: ChainCheck, currency: str) -> str:
    total, acted, raised, held = counts
    if not chain.total:
        return "No decision yet: the first one comes with the first window whose labels are mature."
    more = f" ({count(raised)} raised)" if raised else ""
    judged = f"{plural(total, 'decision')}: {count(acted)} acted{more}, {count(held)} held back"
    return f"{_waits(waits, currency)} {sentence(judged)} {_chain(chain)}"


def _waits(waits: Sequence[Waiting], currency: str) -> str:
    if not waits:
        return "Nothing waits for a person."
    proposals = [w for w in waits if w.proposes]
    lost = sum(w.impact_per_day for w in proposals if w.impact_per_day > 0)
    cost = f", while {money(lost, currency)} a day are lost" if lost else ""
    said = f"{plural(len(proposals), 'retraining waits', 'retrainings wait')} for an answer{cost}" if proposals else ""
    looks = len(waits) - len(proposals)
    return sentence(said, f"{plural(looks, 'window waits', 'windows wait')} for a person to look" if looks else "")


def _chain(chain: ChainCheck) -> str:
    if chain.broken:
        return f"The chain is broken: {chain.broken}."
    whole = "The chain is whole" if chain.checked == chain.total else "The newest part of the chain is whole"
    return f"{whole} ({count(chain.checked)} of {count(chain.total)}, head {chain.head[:8]})."
