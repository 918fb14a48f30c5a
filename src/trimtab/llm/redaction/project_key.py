"""The key of a project, with which text, users and conversations are hashed.

It is made once, in a file of the workspace that its owner alone may read, or comes from a secret that all machines of a
deployment share. Who has the key can find out which of some texts a hash is of, and nothing else; without it, hashes of
earlier turns say nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.definitions.secrets import Secret, reveal
from trimtab.errors import StoreError

FILE = "redaction.key"
KEY_BYTES = 32
TURN = "chatcmpl-"
RANDOM_BYTES, TAG_CHARS = 12, 16
SHOWN_CHARS = 32
"""Hexadecimal characters of the hash of a name: 128 bits."""


@dataclass(frozen=True)
class ProjectKey:
    """The key, and its id, by which a hash says with which key it was made."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Eight characters that say nothing about the key."""
        return hmac.digest(self.key, b"id", "sha256").hex()[:8]

    def of_text(self, text: str) -> str:
        """Return the HMAC-SHA256 of a text, in hexadecimal."""
        return hmac.digest(self.key, text.encode(errors="surrogatepass"), "sha256").hex()

    def of_name(self, kind: str, name: str) -> str:
        """Return the hash of a user, a conversation or the like; equal names of other kinds have other hashes."""
        return self.of_text(f"{kind}\0{name}")[:SHOWN_CHARS]

    def turn_id(self, tenant: str) -> str:
        """Return a new id of a turn, which says for which tenant it was made to those who have the key."""
        random = secrets.token_hex(RANDOM_BYTES)
        return f"{TURN}{random}{self._tag(random, tenant)}"

    def issued(self, turn: str, tenant: str) -> bool:
        """Return True if an id was made for a tenant."""
        random = turn[len(TURN) : len(TURN) + 2 * RANDOM_BYTES]
        return hmac.compare_digest(turn.encode(), f"{TURN}{random}{self._tag(random, tenant)}".encode())

    def _tag(self, random: str, tenant: str) -> str:
        return self.of_text(f"turn\0{tenant}\0{random}")[:TAG_CHARS]


def project_key(root: Path, secret: str | None = None) -> ProjectKey:
    """Return the key of the workspace in a folder; make it where there is none.

    secret: name of the environment variable with it, from `llm.store.key`. Raises StageError when that is not set, and
    StoreError.
    """
    if secret is not None:
        return ProjectKey(hashlib.sha256(reveal(Secret(secret), "llm.store.key").encode()).digest())
    path = root / FILE
    try:
        if not path.exists():
            _make(path)
        found = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot read the project's key: {error}") from None
    if len(found) != KEY_BYTES:
        raise StoreError(f"{path}: expected {2 * KEY_BYTES} hexadecimal digits; restore the file from a backup")
    return ProjectKey(found)


def _make(path: Path) -> None:
    """Write a new key; of several processes that do so at once, the first one counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
