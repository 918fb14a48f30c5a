"""Documents: found in the order of scikit-learn, the same after the index was kept; what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from trimtab.errors import DataError
from trimtab.llm.document_index import INDEX_FILE, Document, DocumentIndex, open_index

WORDS = ["refund", "parcel", "late", "invoice", "login", "ümlaut", "42"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=8).map(" ".join)
ARTICLES = [
    Document("late", "A parcel is late when it comes after the day that we promised"),
    Document("refund", "A refund reaches your account within five days"),
    Document("login", "Reset your password when the login fails"),
]


@given(texts=st.lists(TEXTS, min_size=1, max_size=12), question=TEXTS, k=st.integers(1, 12))
def test_documents_come_in_the_order_of_scikit_learns_cosine(texts: list[str], question: str, k: int) -> None:
    documents = [Document(f"d{n:02}", text) for n, text in enumerate(texts)]
    found = DocumentIndex.of(documents).nearest(question, k)
    assert len(found) <= k
    if not any(texts):
        assert found == []
        return
    vectorizer = TfidfVectorizer(token_pattern=r"[^\W_]{2,}", sublinear_tf=True)
    matrix = vectorizer.fit_transform(texts)
    cosine = (matrix @ vectorizer.transform([question]).T).toarray().ravel()
    got = [cosine[texts_index(each)] for each in found]
    best = np.sort(cosine[cosine > 1e-9])[::-1][:k]
    assert got == pytest.approx(best, abs=1e-5)


def texts_index(document: Document) -> int:
    return int(document.id[1:])


def test_a_kept_index_finds_the_same(tmp_path: Path) -> None:
    index = DocumentIndex.of(ARTICLES)
    for name, content in index.files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    again = open_index(tmp_path)
    for question in ("Where is my parcel?", "money back: refund", "nothing in common", ""):
        assert again.nearest(question, 2) == index.nearest(question, 2)
    assert [each.id for each in again.nearest("my parcel is late", 2)] == ["late"]
    assert index.files() == DocumentIndex.of(ARTICLES[::-1]).files(), "the order of rows must not change the version"
    (tmp_path / INDEX_FILE).write_bytes(b"no archive")
    with pytest.raises(DataError, match="index cannot be read"):
        open_index(tmp_path)


def test_documents_without_a_place_are_refused() -> None:
    with pytest.raises(DataError, match="no documents"):
        DocumentIndex.of([])
    with pytest.raises(DataError, match="1 documents share their id with others, such as 'late'"):
        DocumentIndex.of([*ARTICLES, ARTICLES[0]])
