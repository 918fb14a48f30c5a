"""Request targets: decoded, and remembered when they are short."""

from __future__ import annotations

from typing import Any

from trimtab.serving.http1.targets import Targets


def test_paths_are_decoded_and_remembered_only_when_they_are_short() -> None:
    targets = Targets()
    assert targets.split(b"/a%20b?x=%20") == ("/a b", b"/a%20b", b"x=%20")
    assert targets.split(b"http://host/p") == ("/p", b"/p", b"")
    for n in range(2_000):
        targets.split(b"/%d" % n)
        targets.split(b"/%d?q" % n)
    assert len(targets._known) <= 512
    known: dict[bytes, Any] = dict(targets._known)
    targets.split(b"/" + b"x" * 300)
    assert targets._known == known
