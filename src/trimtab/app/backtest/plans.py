"""The policies of a backtest: by the names that people give them, and variants of the project's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import yaml
from pydantic import ValidationError

from trimtab import units
from trimtab.app.backtest.policy_names import DEFAULT_NAMES, NEVER, POLICY
from trimtab.app.backtest.triggers import Adwin, ErrorRise, Every, LossAlarm, Never, adwin
from trimtab.app.backtest.world import Plan
from trimtab.errors import UsageError, nearest
from trimtab.policy.complaints import complaint
from trimtab.policy.decide import Refresh
from trimtab.policy.model import Policy
from trimtab.policy.tree import valid_keys
from trimtab.policy.values import FROM_FILE

APPROVED = "approved"
ERROR_RISE = re.compile(r"\+(\d+(?:\.\d+)?)\s*%")


def named(name: str, policy: Policy) -> Plan:
    """Return the plan of a name. policy: the project's. Raises UsageError, MissingExtra for ADWIN without river."""
    kind, _, argument = name.strip().partition(":")
    if kind not in NAMES:
        raise UsageError(f"--policy: no policy is called '{name}'.{nearest(kind, NAMES)} {_choice()}")
    return NAMES[kind](name.strip(), argument, policy)


def _never(name: str, argument: str, policy: Policy) -> Plan:
    return Plan(name=_without(name, argument), policy=policy, trigger=Never())


def _every(name: str, argument: str, policy: Policy) -> Plan:
    return Plan(name=name, policy=policy, trigger=Every(_duration(name, argument, "every:7d")))


def _loss(name: str, argument: str, policy: Policy) -> Plan:
    return Plan(name=_without(name, argument), policy=policy, trigger=LossAlarm())


def _error(name: str, argument: str, policy: Policy) -> Plan:
    found = ERROR_RISE.fullmatch(argument)
    if found is None:
        raise UsageError(f"--policy: '{name}' does not say by how much the loss must rise; expected such as error:+5%")
    return Plan(name=name, policy=policy, trigger=ErrorRise(float(found[1]) / 100))


def _adwin(name: str, argument: str, policy: Policy) -> Plan:
    adwin()
    return Plan(name=_without(name, argument), policy=policy, trigger=Adwin())


def _policy(name: str, argument: str, policy: Policy) -> Plan:
    return Plan(name=name, policy=policy, approve=_approve(name, argument))


def _matrix(name: str, argument: str, policy: Policy) -> Plan:
    return Plan(name=name, policy=_with_refresh(policy, None), approve=_approve(name, argument))


def _refresh(name: str, argument: str, policy: Policy) -> Plan:
    refresh = Refresh(every=_duration(name, argument, "refresh:7d"))
    return Plan(name=name, policy=_with_refresh(policy, refresh))


NAMES: dict[str, Callable[[str, str, Policy], Plan]] = {
    NEVER: _never,
    "every": _every,
    "loss": _loss,
    "error": _error,
    "adwin": _adwin,
    POLICY: _policy,
    "matrix": _matrix,
    "refresh": _refresh,
}


def variants(policy: Policy, asked: Sequence[str]) -> Iterator[Plan]:
    """Yield the project's policy with each combination of values. asked: such as "decide.cooldown=7d,14d".

    Raises UsageError for an unknown key, with the nearest one, or a value that does not fit.
    """
    choices = [list(_choices(text)) for text in asked]
    for chosen in product(*choices) if choices else ():
        data = policy.model_dump(by_alias=True)
        for keys, value in chosen:
            _set(data, keys, value)
        name = ", ".join(f"{'.'.join(keys)}={value}" for keys, value in chosen)
        yield Plan(name=name, policy=_validated(data, chosen))


def plans(policy: Policy, names: Sequence[str], vary: Sequence[str]) -> list[Plan]:
    """Return all plans that are asked for, `never` first; of several that do the same the first.

    Without names the usual ones are taken; with variants alone, those and `never`.
    """
    wanted = list(names) or ([] if vary else list(DEFAULT_NAMES))
    found = [named(name, policy) for name in dict.fromkeys((NEVER, *wanted))]
    found += variants(policy, vary)
    kept: list[Plan] = []
    for plan in found:
        if all((plan.policy, plan.trigger, plan.approve) != (k.policy, k.trigger, k.approve) for k in kept):
            kept.append(plan)
    return kept


def _choices(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise UsageError(f"--vary: '{text}' names no values; expected such as decide.cooldown=7d,14d,28d")
    keys = tuple(part.strip() for part in key.split("."))
    for n, part in enumerate(keys):
        valid = valid_keys(keys[:n])
        if valid and part not in valid:
            hint = nearest(part, valid)
            raise UsageError(f"--vary: trimtab.yaml has no key '{'.'.join(keys[: n + 1])}'.{hint}")
        if not valid and n and keys[:n] != ("training", "params"):
            raise UsageError(f"--vary: '{'.'.join(keys[:n])}' has no keys below it")
    for value in values.split(","):
        yield keys, value.strip()


def _set(data: dict[str, Any], keys: Sequence[str], value: str) -> None:
    place = data
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[keys[-1]] = yaml.safe_load(value)


def _validated(data: dict[str, Any], chosen: Sequence[tuple[tuple[str, ...], str]]) -> Policy:
    try:
        for keys, value in chosen:  # a person wrote these: a bare number where a unit is due is refused
            sparse: dict[str, Any] = {"project": data["project"]}
            _set(sparse, keys, value)
            Policy.model_validate(sparse, context=FROM_FILE)
        return Policy.model_validate(data)
    except ValidationError as error:
        lines = [complaint(problem, {keys: 1 for keys, _ in chosen})[1] for problem in error.errors(include_url=False)]
        raise UsageError(f"--vary: {'; '.join(dict.fromkeys(lines))}") from None


def _with_refresh(policy: Policy, refresh: Refresh | None) -> Policy:
    return policy.model_copy(update={"retrain": policy.retrain.model_copy(update={"refresh": refresh})})


def _duration(name: str, argument: str, example: str) -> int:
    try:
        return units.micros(argument)
    except ValueError as error:
        raise UsageError(f"--policy: '{name}': {error}; expected such as {example}") from None


def _without(name: str, argument: str) -> str:
    if argument:
        raise UsageError(f"--policy: '{name}': this policy takes nothing after the colon")
    return name


def _approve(name: str, argument: str) -> bool:
    if argument not in ("", APPROVED):
        raise UsageError(f"--policy: '{name}': expected nothing, or '{APPROVED}', after the colon")
    return argument == APPROVED


def _choice() -> str:
    return "There are: never, every:7d, loss, error:+5%, adwin, matrix, matrix:approved, refresh:7d, policy."
