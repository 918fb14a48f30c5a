"""Finds keys, tokens and passwords: by the shapes that their makers give them, by what stands before, and by entropy.

Text without a known shape counts as a secret from 24 characters on, where letters of both cases and digits alternate as
they do at random; hexadecimal text from 32 characters on, so checksums count, too. UUIDs do not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

_SHAPES = {
    "sk-": r"(?:(?<![A-Za-z0-9]sk-)|(?=[A-Za-z_-]*[0-9]))[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic; not "task-force"
    **dict.fromkeys(("sk_live_", "sk_test_", "pk_live_", "pk_test_", "rk_live_", "rk_test_"), r"[A-Za-z0-9]{10,}"),
    "whsec_": r"[A-Za-z0-9]{16,}",  # Stripe, as are those before
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{16,}"),
    "github_pat_": r"[A-Za-z0-9_]{20,}",
    **dict.fromkeys(("glpat-", "glptt-", "glrt-"), r"[A-Za-z0-9_-]{16,}"),
    "xox": r"[abeprs]-[A-Za-z0-9-]{10,}",  # Slack
    "xapp-": r"[A-Za-z0-9-]{10,}",
    **dict.fromkeys(("AKIA", "ASIA", "AROA", "AIDA"), r"[A-Z0-9]{12,}"),  # AWS
    "AIza": r"[A-Za-z0-9_-]{20,}",  # Google
    "ya29.": r"[A-Za-z0-9_-]{16,}",
    "GOCSPX-": r"[A-Za-z0-9_-]{16,}",
    "hf_": r"[A-Za-z0-9]{16,}",
    "npm_": r"[A-Za-z0-9]{20,}",
    "pypi-": r"[A-Za-z0-9_-]{20,}",
    "gsk_": r"[A-Za-z0-9]{20,}",
    "dop_v1_": r"[a-f0-9]{20,}",
    "shp": r"(?:at|ca|pa|ss)_[A-Fa-f0-9]{20,}",  # Shopify
    "SG.": r"[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # SendGrid
    "key-": r"[a-f0-9]{32}",
    "tt_": r"[a-f0-9]{16,}",  # tokens of this gateway
    "eyJ": r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",  # JSON web tokens
    "-----BEGIN ": r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]{1,60}-----|\Z)",
}
"""What a secret begins with, and what follows."""
_OF_SHAPE = [(start, re.compile(re.escape(start) + rest)) for start, rest in _SHAPES.items()]
_IN_URL = re.compile(r"://[^\s/:@]{0,100}:([^\s/@]{1,200})@")

_VALUE = r"[\"'`]?([^\s\"'`,;<>]{4,200})"
_ASSIGNED = (
    r"[\"'`]?\s{0,4}(?:(?::=|=>|[:=])\s{0,4}"
    + _VALUE
    + r"|(?:is|lautet|est|es)\s(?=\S{0,40}[0-9!@#$%^&*])"
    + _VALUE
    + ")"
)
_NAMED = r"(?<=api)|(?<=access)|(?<=private)|(?<=account)|(?<=auth)|(?<=secret)|(?<=[_ -])"
_WORDS = {
    "pass": r"(?:pass(?:word|wd|phrase|wort|code)?)" + _ASSIGNED,
    "pwd": "pwd" + _ASSIGNED,
    "secret": "secret" + _ASSIGNED,
    "key": f"(?:{_NAMED})key" + _ASSIGNED,
    "token": "token" + _ASSIGNED,
    "credential": "credentials?" + _ASSIGNED,
    "pin": r"(?<![a-z])pin" + _ASSIGNED,
    "bearer": r"bearer\s{1,4}([a-z0-9._~+/=-]{8,})",
    "basic": r"basic\s{1,4}([a-z0-9+/=]{8,})",
}
"""Words, and what between them and a secret may stand, in lower case."""
_AFTER_WORD = [(word, re.compile(form)) for word, form in _WORDS.items()]

LEAST_CHARS = 24
_LONG = re.compile(rf"[A-Za-z0-9+/_=-]{{{LEAST_CHARS},}}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
LEAST_BITS, LEAST_CHANGES = 3.5, 0.35
"""Entropy a character, and share of neighbours of other classes (lower, upper, digit), from which text is random.

Of 24 random characters of base64, 99 % have more of both.
"""
LEAST_BITS_HEX = 2.8
_LOWER, WORD_CHARS = re.compile("[a-z]+"), 3.0
"""Runs of small letters have 1.7 on average at random; where they have more, the text is made of words."""
SEEN = 200
"""Characters of a long text that are looked at."""


def secrets_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each secret; they may overlap."""
    for start, form in _OF_SHAPE:  # `in` is ten times as quick as an expression of all forms
        if start in text:
            for found in form.finditer(text):
                yield found.span()
    if "://" in text:
        for found in _IN_URL.finditer(text):
            yield found.span(1)
    lower = text.lower()
    lower = lower if len(lower) == len(text) else text  # places must stay
    for word, form in _AFTER_WORD:
        place = lower.find(word)
        while place >= 0:
            match = form.match(lower, place)
            if match is not None:
                yield match.span(match.lastindex or 0)
            place = lower.find(word, place + len(word))
    if max(map(len, text.split()), default=0) < LEAST_CHARS:
        return
    for found in _LONG.finditer(text):
        if is_random(found[0][:SEEN]):
            yield found.span()


def is_random(text: str) -> bool:
    """Return True if a text without spaces is as varied as keys are."""
    if _UUID.fullmatch(text):
        return False
    if _HEX.fullmatch(text):
        return bits(text.lower()) >= LEAST_BITS_HEX and not text.isdigit() and not text.isalpha()
    classes = [("a" if c.islower() else "A" if c.isupper() else "0" if c.isdigit() else "-") for c in text]
    if not {"a", "A", "0"} <= set(classes):
        return False
    changes = sum(a != b for a, b in pairwise(classes)) / (len(text) - 1)
    words = _LOWER.findall(text)
    is_words = sum(map(len, words)) / len(words) >= WORD_CHARS
    return not is_words and changes >= LEAST_CHANGES and bits(text) >= LEAST_BITS


def bits(text: str) -> float:
    """Return the entropy of the characters of a text, in bits a character (Shannon 1948)."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
