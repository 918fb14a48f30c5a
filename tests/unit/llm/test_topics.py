"""Topics: a text unlike the reference is `other`, and a text like it is not; files carry them over whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from trimtab.errors import DataError
from trimtab.llm.languages import LANGUAGES, language
from trimtab.llm.topics import Topics

VOCABULARY = [f"w{letter}{number}" for letter in "abcdefghijklmnopqrstuvwxyz" for number in range(60)]
COMMON = VOCABULARY[:60]
SUBJECTS = [np.random.default_rng(seed).choice(VOCABULARY[200:], 25, replace=False) for seed in range(8)]
NEW = np.random.default_rng(999).choice(VOCABULARY[200:], 25, replace=False)


def text(random: np.random.Generator, words: Sequence[str] | np.ndarray) -> str:
    return " ".join(random.permutation(np.r_[random.choice(words, 8), random.choice(COMMON, 8)]))


@pytest.fixture(scope="module")
def topics() -> Topics:
    random = np.random.default_rng(1)
    found, _ = Topics.fit([text(random, SUBJECTS[n % 8]) for n in range(200)])
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_a_new_subject_in_200_texts_is_seen_by_the_share_of_other(topics: Topics, share: float) -> None:
    random = np.random.default_rng(2)
    new = round(200 * share)

    def other(subjects: Sequence[np.ndarray]) -> float:
        placed = topics.place([text(random, each) for each in subjects])
        return float(np.mean(placed.code == len(topics.centres)))

    old = [SUBJECTS[place] for place in random.integers(8, size=200)]
    usual = [other(old) for _ in range(10)]
    mixed = [other([*[NEW] * new, *old[new:]]) for _ in range(10)]
    assert max(usual) <= 0.03  # one text in a hundred is beyond the 99th percentile: 2 of 200, up to 6
    assert min(mixed) > max(usual)
    assert np.mean(mixed) >= 0.9 * share


def test_texts_of_one_subject_have_topics_of_their_own(topics: Topics) -> None:
    random = np.random.default_rng(3)
    codes = [set(topics.place([text(random, of) for _ in range(40)]).code.tolist()) for of in SUBJECTS[:2]]
    assert len(codes[0] & codes[1] - {float(len(topics.centres))}) <= 1


def test_a_text_that_is_not_known_has_no_topic(topics: Topics) -> None:
    placed = topics.place([None, "", "wa1 wa2"])
    assert np.isnan(placed.code[0])
    assert np.isnan(placed.distance[0])
    assert placed.code[1] == len(topics.centres)
    assert np.isfinite(placed.distance[1:]).all()


def test_a_file_carries_topics_over_whole(topics: Topics) -> None:
    random = np.random.default_rng(4)
    texts = [text(random, SUBJECTS[n % 8]) for n in range(30)]
    again = Topics.from_bytes(topics.to_bytes())
    assert again.names == topics.names
    assert all(np.array_equal(a, b) for a, b in zip(again.place(texts), topics.place(texts), strict=True))


def test_what_is_no_file_of_topics_is_refused() -> None:
    with pytest.raises(DataError, match="not topics"):
        Topics.from_bytes(b"PK nothing")


def test_few_texts_have_no_topics() -> None:
    found, placed = Topics.fit(["some words", None, " "] * 10)
    assert found is None
    assert np.isnan(placed.code).all()


def test_a_word_of_few_texts_names_no_topic() -> None:
    random = np.random.default_rng(5)
    texts = [text(random, SUBJECTS[n % 4]) for n in range(60)]
    texts[0] = " ".join([texts[0], *["zebediah"] * 9])
    found, _ = Topics.fit(texts)
    assert found is not None
    assert not any("zebediah" in name for name in found.names)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Where is the parcel that you have sent to me?", "en"),
        ("Wo ist das Paket, das ich bei Ihnen bestellt habe, und wann kommt es?", "de"),
        ("Je ne trouve pas la facture de mon abonnement", "fr"),
        ("No puedo entrar en mi cuenta y el pago no se ha hecho", "es"),
        ("Non riesco a entrare nel mio conto, come posso fare con la fattura?", "it"),
        ("Não consigo entrar em minha conta, você pode me ajudar?", "pt"),
        ("Ik kan niet inloggen en het is niet de eerste keer", "nl"),
        ("Где моя посылка?", "cyrillic"),
        ("注文した荷物はどこですか", "japanese"),
        ("我的包裹在哪里", "chinese"),
        ("ok", "unknown"),
        ("", "unknown"),
        ("12345 !!", "unknown"),
    ],
)
def test_the_language_of_a_text(said: str, expected: str) -> None:
    assert language(said) == expected
    assert expected in LANGUAGES


def test_reference_texts_are_as_far_from_their_topics_as_new_ones() -> None:
    random = np.random.default_rng(6)
    texts = [text(random, SUBJECTS[n % 8]) for n in range(300)]
    found, placed = Topics.fit(texts)
    assert found is not None
    new = found.place([text(random, SUBJECTS[n % 8]) for n in range(300)]).distance
    itself, spread = found.place(texts).distance, float(np.std(placed.distance))
    assert abs(float(np.mean(new - placed.distance))) < 0.3 * spread
    assert float(np.mean(new - itself)) > 0.6 * spread  # what topics are made of is nearer to them
