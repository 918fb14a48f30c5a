"""Finds personal data in a text by its form and its check digits. Nothing is learned, so nothing depends on a model.

email   local part and host with a dot, `%40` for `@`, too
phone   international (+49 ..., 0049 ...), national with a leading 0, North American; else after a word such as "phone"
card    lengths and prefixes of the card schemes, and the Luhn digit (ISO/IEC 7812-1)
iban    country, its length, and the remainder by 97 (ISO 13616)
ip      IPv4 and IPv6
secret  see secret_shapes

Names of people, places and addresses have no form and are not found. Digits, spaces and dashes of other scripts are
read as those of ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from trimtab.llm.redaction.secret_shapes import secrets_in

Span = tuple[int, int]


class Found(NamedTuple):
    """A place in a text, and what is there."""

    start: int
    end: int
    kind: str


def find(text: str, kinds: Sequence[str], patterns: Sequence[re.Pattern[str]] = ()) -> list[Found]:
    """Return what is found in a text, in order and without overlaps.

    kinds: of DETECTORS. patterns: further ones, whose kind is `custom`. Of kinds that overlap the first of DETECTORS
    counts, for the whole of both.
    """
    plain = text if text.isascii() else text.translate(_AS_ASCII)
    if "\\" in plain or "\x1b" in plain:
        plain = _ESCAPE.sub(lambda escape: " " * len(escape[0]), plain)
    spans = [Found(*match.span(), CUSTOM) for pattern in patterns for match in pattern.finditer(text)]
    raw = plain.encode(errors="replace")
    few = len(raw) - len(raw.translate(None, b"0123456789")) < FEWEST_DIGITS and "::" not in plain
    for kind, detect in DETECTORS.items():
        if kind in kinds and not (few and kind in OF_DIGITS):
            spans += [Found(start, end, kind) for start, end in detect(plain)]
    return _without_overlaps([span for span in spans if span.end > span.start])


def _without_overlaps(spans: list[Found]) -> list[Found]:
    if len(spans) < 2:
        return spans
    found: list[Found] = []
    for span in sorted(spans, key=lambda span: span.start):  # stable: the more telling kind comes first
        if found and span.start < found[-1].end:
            last = found[-1]
            kind = min(last.kind, span.kind, key=_RANK.index)
            found[-1] = Found(last.start, max(last.end, span.end), kind)
        else:
            found.append(span)
    return found


_AS_ASCII = str.maketrans(
    {
        **{chr(0xFF10 + n): str(n) for n in range(10)},  # fullwidth digits
        **{chr(0x0660 + n): str(n) for n in range(10)},  # Arabic-Indic digits
        **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff\u2010\u2011\u2012\u2013\u2014\u2212\uff0d", "-"),
        "\uff20": "@",
        "\uff0e": ".",
        "\uff0b": "+",
    }
)
"""One character each, so that places in the text stay. What is invisible counts as a dash between digits."""

_ESCAPE = re.compile(r"\\[bfnrt]|\x1b\[[0-9;]{0,16}[A-Za-z]")
"""Line breaks in JSON, as arguments of tools have them, and colours of terminals: no part of the word that follows."""

_HOST = re.compile(r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.){1,8}[^\W\d_]{2,24}")
_LOCAL = re.compile(r"[\w.'%+~-]+")
"""Of the characters before the `@`, in reverse order."""


def _emails(text: str) -> Iterator[Span]:
    if "@" not in text and "%40" not in text:
        return
    for at in re.finditer("@|%40", text):
        host = _HOST.match(text, at.end())
        local = _LOCAL.match(text[max(0, at.start() - 64) : at.start()][::-1]) if host else None
        if host and local and (given := local[0].rstrip(".'%~-")):
            yield at.start() - len(given), host.end()


_DIGIT_RUN = re.compile(r"[0-9](?<![\w.].)(?:[ -]?[0-9]){11,22}(?![0-9])")
"""It begins with the digit, as those below do; what must not stand before it is checked then, which is quicker."""
_GROUP = re.compile(r"[0-9]+")
_SCHEMES = re.compile(
    r"(?P<visa>4)|(?P<mastercard>5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)|(?P<amex>3[47])"
    r"|(?P<other16>6011|64[4-9]|65|35(?:2[89]|[3-8]))|(?P<diners>3(?:0[0-5]|[689]))|(?P<long>62|50|5[6-9]|6[0-9])"
)
_LENGTHS = {
    "visa": (16, 19, 13),
    "mastercard": (16,),
    "amex": (15,),
    "other16": (16, 19, 18, 17),
    "diners": (14, 16),
    "long": (16, 19, 18, 17, 15, 14, 13),
}
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Return True if the last digit is that of Luhn's formula (ISO/IEC 7812-1, annex B)."""
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[n] for n in numbers[1::2])) % 10 == 0


def _cards(text: str) -> Iterator[Span]:
    for run in _DIGIT_RUN.finditer(text):
        groups = [(group.start(), group.end()) for group in _GROUP.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            last = _card_from(text, groups, first)
            if last is not None:
                yield groups[first][0], groups[last][1]
            first = first + 1 if last is None else last + 1


def _card_from(text: str, groups: Sequence[Span], first: int) -> int | None:
    """Return the last group of the card number that begins with a group; None where none does."""
    digits, by_length = "", {}
    for place in range(first, len(groups)):
        digits += text[slice(*groups[place])]
        by_length[len(digits)] = place
    scheme = _SCHEMES.match(digits)
    for length in _LENGTHS[scheme.lastgroup] if scheme and scheme.lastgroup else ():
        number = digits[:length]
        if length in by_length and len(set(number)) > 1 and passes_luhn(number):
            return by_length[length]
    return None


_IBAN = re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}..)(?<![A-Za-z0-9][A-Za-z]{2}..)(?:[ -]?[A-Za-z0-9]){11,34}")
"""Two letters stand before it."""
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""Characters by country (SWIFT, IBAN Registry)."""


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN.finditer(text):
        start = found.start() - 2
        length = _IBAN_LENGTHS.get(text[start : start + 2].upper(), 99)
        places = [place for place in range(start, found.end()) if text[place].isalnum()]
        if length > len(places) or text[places[length - 1] + 1 : places[length - 1] + 2].isalnum():
            continue
        compact = "".join(text[place] for place in places[:length]).upper()
        if int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1:
            yield start, places[length - 1] + 1


_IPV4 = re.compile(r"[0-9](?<![\w.].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\.?[0-9A-Za-z])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def _addresses(text: str) -> Iterator[Span]:
    for found in _IPV4.finditer(text):
        if _is_address(found[0]):
            yield found.span()
    if "::" in text or text.count(":") > 6:
        for found in _IPV6.finditer(text):
            address = found[0].rstrip(".")
            address = address if address.endswith("::") else address.rstrip(":")
            if len(address) > 2 and _is_address(address):
                yield found.start(), found.start() + len(address)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_NUMBER = re.compile(
    r"[+(0-9](?<![\w.,].)(?:(?<=\()\+?[0-9]|(?<=\+)[0-9]|(?<=[0-9]))(?:[ \-./()]{0,3}[0-9]){6,16}(?![0-9])"
)
_TIME = re.compile(r"[0-9]{4}[-/.][01]?[0-9][-/.][0-3]?[0-9]|[0-3]?[0-9][-/.][01]?[0-9][-/.](?:[0-9]{4}|[0-9]{2}\b)")
_AMERICAN = re.compile(r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}")
_CALLED = re.compile(
    r"(?:phones?|tel(?:ephone|efon)?|cell|mobiles?|mobil|handy|call(?: me| us)?|fax|whatsapp|sms|ring|rufnummer|t[eé]l"
    r"|m[oó]vil)"
    r"(?: (?:number|no|nr|is|at|on|me))*\.?\s{0,2}[:#=]?\s{0,2}[\"']?\(?\Z",
    re.IGNORECASE,
)


def _phones(text: str) -> Iterator[Span]:
    for found in _NUMBER.finditer(text):
        number = found[0]
        count = sum(c.isdigit() for c in number)
        if not 7 <= count <= 15 or _TIME.match(number):
            continue
        bare = number.lstrip("(")
        if (
            (bare[0] == "+" and count >= 8)
            or (bare.startswith("00") and count >= 10)
            or (bare[0] == "0" and 9 <= count <= 13 and not _is_decimal(bare))
            or _AMERICAN.fullmatch(number)
            or _CALLED.search(text, max(0, found.start() - 40), found.start())
        ):
            yield found.span()


def _is_decimal(number: str) -> bool:
    whole, point, rest = number.partition(".")
    return bool(point) and whole.isdigit() and rest.isdigit()


CUSTOM = "custom"
DETECTORS: dict[str, Callable[[str], Iterator[Span]]] = {
    "secret": secrets_in,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ip": _addresses,
    "phone": _phones,
}
"""The detectors of the policy's `llm.redact.detect`; of kinds that overlap the first one counts."""
_RANK = (CUSTOM, *DETECTORS)
OF_DIGITS, FEWEST_DIGITS = ("iban", "card", "ip", "phone"), 4
"""Texts with fewer digits have none of these, but for addresses of IPv6, which have `::` then."""
