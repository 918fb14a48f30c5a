"""Who may call the gateway: tokens, what they allow, when they end."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from trimtab.clock import ManualClock, to_micros
from trimtab.serving.endpoints import Access, Grants, Permission
from trimtab.serving.orders import Grant
from trimtab.serving.requests import Refused

SECRET = "tt_" + "ab" * 32
CLOCK = ManualClock()


def grant(*, models: Sequence[str] = (), verbs: Sequence[str] = ("infer",), expires_at: int | None = None) -> Grant:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    return Grant(digest, "batch", tuple(models), tuple(verbs), expires_at)


def access(*grants: Grant, clock: ManualClock = CLOCK) -> Access:
    return Access(Grants.of(grants), clock)


def bearer(secret: str = SECRET) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + secret.encode())]


def refusal(
    checked: Access, headers: list[tuple[bytes, bytes]], permission: Permission, model: str | None
) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        checked.check(headers, permission, model)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        bearer(),
        [(b"authorization", b"bearer  " + SECRET.encode())],
        [(b"x-api-key", SECRET.encode())],
    ],
)
def test_a_token_opens_what_it_allows(headers: list[tuple[bytes, bytes]]) -> None:
    access(grant()).check(headers, "infer", "delay")
    access(grant(models=["delay"])).check(headers, "infer", "delay")
    access(grant()).check(headers, "infer", None)


def test_what_is_open_needs_no_token() -> None:
    access().check([], "open", None)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "asks for a token"),
        ([(b"authorization", b"Basic dXNlcjpwYXNz")], "no bearer token"),
        ([(b"authorization", b"")], "no bearer token"),
        (bearer("tt_other"), "not known"),
        (bearer(""), "not known"),
        ([(b"x-api-key", b"\xff\x00")], "not known"),
    ],
)
def test_without_a_valid_token_a_request_is_refused(headers: list[tuple[bytes, bytes]], says: str) -> None:
    status, text = refusal(access(grant()), headers, "infer", "delay")
    assert status == 401
    assert says in text
    assert "trimtab token create" in text
    assert SECRET not in text


def test_a_token_says_what_it_lacks() -> None:
    limited = access(grant(models=["delay"], verbs=["infer", "read"]))
    assert refusal(limited, bearer(), "admin", "delay") == (
        403,
        "the token 'batch' does not allow 'admin', only: infer, read",
    )
    assert refusal(limited, bearer(), "infer", "price") == (
        403,
        "the token 'batch' does not open model 'price', only: delay",
    )
    status, text = refusal(limited, bearer(), "read", None)
    assert status == 403
    assert "all models" in text


def test_a_token_ends_when_it_expires() -> None:
    clock = ManualClock()
    checked = access(grant(expires_at=to_micros(clock.now()) + 60_000_000), clock=clock)
    clock.sleep(59.999)
    checked.check(bearer(), "infer", "delay")
    clock.sleep(0.001)
    assert refusal(checked, bearer(), "infer", "delay")[0] == 401


def test_a_revoked_token_is_refused_from_then_on() -> None:
    checked = access(grant())
    checked.check(bearer(), "infer", "delay")
    checked.grants = Grants()
    assert refusal(checked, bearer(), "infer", "delay")[0] == 401
