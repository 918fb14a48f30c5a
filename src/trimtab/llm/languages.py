"""Finds the language of a text by its script and by frequent short words: enough to see that the mix has changed.

It is no translator's judgement: a text of fewer than WORDS known short words is "unknown", and so is one whose two best
languages are even.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

WORDS = 2
"""Fewest short words of a language that a text must have."""
SCRIPT_SHARE = 0.3
"""Share of the letters from which on their script decides."""
LOOKED_AT = 500
"""Characters of a text that are looked at."""
_WORDS_OF = """
en: the and is are was you that this with for have not but your from they what can will my it of to
de: der die das und ist nicht ich sie ein eine mit für auf den dem zu von wir haben auch wie kann mein
fr: le la les et est pas je vous un une avec pour dans des que qui sur mon nous ne ce du au mais
es: el la los y es no que un una con para en por mi su se lo las pero como está muy del al yo
it: il la le e è non che un una con per in di mi si lo gli ma come sono del al ho mio questo
pt: o a os e é não que um uma com para em por meu se as mas como está muito do da ao eu você
nl: de het een en is niet ik je van met voor op dat zijn te in maar hebben ook hoe kan mijn deze wij
"""
STOP_WORDS: Mapping[str, frozenset[str]] = {
    name: frozenset(words.split()) for name, words in (line.split(": ") for line in _WORDS_OF.strip().splitlines())
}
"""Frequent short words of each language; those of several languages count for each of them."""
SCRIPTS: Mapping[str, str] = {
    "CYRILLIC": "cyrillic",
    "GREEK": "greek",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
    "DEVANAGARI": "devanagari",
    "HIRAGANA": "japanese",
    "KATAKANA": "japanese",
    "HANGUL": "korean",
    "CJK": "chinese",
    "THAI": "thai",
}
"""First word of the Unicode name of a letter -> what its script is called here."""
LANGUAGES = ("unknown", *STOP_WORDS, *dict.fromkeys(SCRIPTS.values()))
"""What a text can be, in the order of the codes of the feature `language`."""
_WORD = re.compile(r"[^\W\d_]+")


def language(text: str) -> str:
    """Return one of LANGUAGES.

    >>> language("Where is the parcel that you have sent?"), language("Wo ist das Paket, und wann kommt es?")
    ('en', 'de')
    >>> language("ok")
    'unknown'
    """
    head = text[:LOOKED_AT].lower()
    letters = [letter for letter in head if letter.isalpha()]
    foreign = Counter(_script(letter) for letter in letters if letter > "\u024f")
    foreign.pop("", None)
    if foreign:
        japanese = foreign["japanese"] and "chinese" in foreign  # Japanese is written with Chinese characters, too
        script, count = (
            ("japanese", foreign["japanese"] + foreign["chinese"]) if japanese else foreign.most_common(1)[0]
        )
        if count > SCRIPT_SHARE * len(letters):
            return script
    words = _WORD.findall(head)
    found = sorted(((sum(word in known for word in words), name) for name, known in STOP_WORDS.items()), reverse=True)
    (most, best), (second, _) = found[:2]
    return best if most >= WORDS and most > second else "unknown"


def _script(letter: str) -> str:
    return SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0].partition("-")[0], "")
