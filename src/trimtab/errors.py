"""The error tree. This module imports no other module of Trimtab, so every layer can raise these errors.

    TrimtabError
    |-- DefinitionError (ValueError)    definitions.py of a project is wrong
    |-- PolicyError (ValueError)        trimtab.yaml of a project is wrong
    |-- UsageError (ValueError)         a command got arguments that do not fit
    |-- DataError (ValueError)          data does not have the promised form
    |-- StoreError                      a store failed or refused
    |   |-- NotFound (KeyError)         no such record, table or artifact
    |   |-- Conflict                    another process wrote first
    |   |   |-- Answered (UsageError)   a decision has an answer already
    |   |   `-- Outdated                another change came that the person who asks had not seen
    |   `-- MissingExtra (ImportError)  an optional package is not installed
    |-- StageError                      a stage cannot run (what it needs is not there yet)
    |   |-- TrainerFailed               the user's trainer raised: exit code 1
    |   `-- ImpactFailed                the project's impact function raised, or returned no money of each row
    |-- CheckFailed                     data checks failed: exit code 1
    |-- GateRefused                     a gate failed: exit code 1
    |-- ActionError                     a change of the bundles in service was refused
    |   `-- ApprovalNeeded              people have to approve it first
    `-- Forbidden                       the role of the person does not allow it

Two further classes can be mixed in: Temporary (a retry may succeed) and Permanent (a retry cannot succeed).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TrimtabError(Exception):
    """Base of all errors that Trimtab raises on purpose. Their texts are written for users.

    Attributes:
        exit_code: the exit code of a command that ends with this error.

    >>> import trimtab
    >>> try:
    ...     trimtab.Entity("my entity")
    ... except trimtab.TrimtabError as error:
    ...     print(error.exit_code, error)
    2 Entity name 'my entity' is not valid; expected letters, digits and single underscores, such as 'my_name'
    """

    exit_code = 3


class DefinitionError(TrimtabError, ValueError):
    """A definition is wrong. The message names the object, what was expected and the nearest valid name."""

    exit_code = 2


class PolicyError(TrimtabError, ValueError):
    """The policy file is wrong. The message names file, line and key."""

    exit_code = 2


class UsageError(TrimtabError, ValueError):
    """A command got arguments that do not fit."""

    exit_code = 2


class DataError(TrimtabError, ValueError):
    """Data does not have the promised form."""

    exit_code = 1


class StoreError(TrimtabError):
    """A store failed or refused."""


class NotFound(StoreError, KeyError):
    """No such record, table or artifact."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else "not found"


class Conflict(StoreError):
    """Another process wrote first. Read the data again, then repeat the decision."""


class Answered(Conflict, UsageError):
    """A decision has an answer already. The message says whose, when and which."""

    exit_code = 2


class Outdated(Conflict):
    """Another change came after the one that the person who asks had seen. The message says which, by whom and why."""

    exit_code = 1


class MissingExtra(StoreError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Install it with: pip install 'trimtab[{extra}]'")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:  # args holds the message, not the arguments
        return type(self), (self.package, self.extra)


class StageError(TrimtabError):
    """A stage cannot run, usually because the stage before it has not."""


class TrainerFailed(StageError):
    """The trainer of a project raised, or returned no estimator. The message names its file and line."""

    exit_code = 1


class ImpactFailed(StageError):
    """A project's impact function raised, or did not return a finite number for each row."""


class CheckFailed(TrimtabError):
    """Data checks failed. The batch is not written to any table."""

    exit_code = 1


class GateRefused(TrimtabError):
    """A gate refused the model. The message says by how much."""

    exit_code = 1


class ActionError(TrimtabError):
    """A change of the bundles in service was refused."""

    exit_code = 1


class ApprovalNeeded(ActionError):
    """A change of the bundles in service waits for people to approve it."""


class Forbidden(TrimtabError):
    """The role of the person who asks does not allow it. The message names the role that does."""

    exit_code = 1


class Temporary:
    """Mixed into errors after which a retry may succeed, `after_s` seconds later."""

    after_s: float = 1.0


class Permanent:
    """Mixed into errors after which a retry cannot succeed."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the valid name nearest to `name`, else the list of valid names.

    Upper and lower case count as equal: 'mb' matches 'MB'.
    """
    names = sorted(valid)
    folded = {each.casefold(): each for each in names}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{folded[close[0]]}'?"
    if not names:
        return ""
    return f" Valid: {', '.join(names[:12])}" + (", ..." if len(names) > 12 else ".")
