"""Secrets in definitions: references to environment variables, whose values are read when they are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from urllib.parse import quote

from trimtab import settings
from trimtab.errors import DefinitionError, StageError, nearest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Secret:
    """A reference to an environment variable. It is compared, hashed and printed by its name alone."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise DefinitionError(
                f"secret: {self.name!r} is no name of an environment variable; expected letters, digits and "
                "underscores, such as SHOP_PASSWORD"
            )

    def __str__(self) -> str:
        return f"${{{self.name}}}"


def secret(name: str) -> Secret:
    """Refer to a secret that an environment variable holds, so that definitions hold none.

    The variable is read when a connection is opened. With NAME_FILE set instead, the file that it names is read, as
    container platforms mount secrets. Inside a text, an f-string or ${NAME} refers to it.

    Args:
        name: the environment variable.

    Returns:
        The reference.

    Raises:
        DefinitionError: the name is no name of a variable.

    >>> import trimtab as tt
    >>> tt.secret("SHOP_TOKEN")
    Secret(name='SHOP_TOKEN')
    >>> f"postgresql://app:{tt.secret('SHOP_PASSWORD')}@db/shop"
    'postgresql://app:${SHOP_PASSWORD}@db/shop'
    """
    return Secret(name)


def names_in(value: object) -> Iterator[str]:
    """Yield the names of the secrets that a text, a list, a mapping or the fields of a dataclass refer to."""
    if isinstance(value, Secret):
        yield value.name
    elif isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, Mapping):
        yield from names_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from names_in(each)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from names_in([getattr(value, field.name) for field in fields(value)])


def reveal(value: str | Secret, where: str) -> str:
    """Return the value of a secret, or a text with the values of the secrets that it refers to.

    Args:
        value: a reference, or a text that may contain ${NAME}.
        where: what needs it, for the message.

    Returns:
        The text. Write it nowhere.

    Raises:
        StageError: the variable is not set, or its file cannot be read.
    """
    return _REFERENCE.sub(lambda found: _read(found[1], where), str(value))


def reveal_in_url(url: str, where: str) -> str:
    """Return a URL with the values of the secrets that it refers to, escaped as parts of it.

    A URL that is one reference, such as `${OPS_URL}`, is the value as it is.

    Args:
        url: a text that may contain ${NAME}.
        where: what needs it, for the message.

    Returns:
        The URL. Write it nowhere.

    Raises:
        StageError: the variable is not set, or its file cannot be read.
    """
    if _REFERENCE.fullmatch(url):
        return reveal(url, where)
    return _REFERENCE.sub(lambda found: quote(_read(found[1], where), safe=""), url)


def _read(name: str, where: str) -> str:
    value = settings.variable(name)
    if value is not None:
        return value
    file = settings.variable(f"{name}_FILE")
    if file is None:
        hint = nearest(name, settings.variables())
        hint = hint if "Did you mean" in hint else ""
        raise StageError(f"{where}: the environment variable {name} is not set; it holds a secret.{hint}")
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise StageError(f"{where}: {name}_FILE names '{file}', which cannot be read: {error}") from None
