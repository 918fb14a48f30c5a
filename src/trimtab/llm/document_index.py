"""An index of documents, from which a prompt gets those nearest to a question.

"tfidf" weighs words by how rare they are (Spärck Jones 1972), and compares by the cosine of the angle between the
weights of both texts. "all-minilm-l6-v2" compares sentence embeddings, with the extra `embeddings`. The index lies in
the bundle of the prompt, so a version answers from the documents that it was judged with.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trimtab.bundle.prompt_spec import PromptSpec, RetrieverSpec
from trimtab.definitions.llm.retrievers import DOCUMENTS
from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.llm.chat_messages import MessageError
from trimtab.llm.topics import Embed, minilm, words_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
else:
    np = LazyLibrary("numpy")

SEPARATOR = "\n\n"
DOCUMENTS_FILE = "retriever/documents.json"
INDEX_FILE = "retriever/index.npz"


class Document(NamedTuple):
    """A document of a table."""

    id: str
    text: str


class Postings(NamedTuple):
    """Words of documents: those of word n lie from starts[n] to starts[n + 1]."""

    words: Mapping[str, int]
    idf: Floats
    starts: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    weights: Floats
    """Of a word in a document, whose weights have a sum of squares of 1."""


@dataclass(frozen=True)
class DocumentIndex:
    """Documents, and what they are searched by: postings, or embeddings (documents, directions)."""

    documents: tuple[Document, ...]
    found_by: Postings | Floats

    @classmethod
    def of(cls, documents: Sequence[Document], *, embed: Embed = "tfidf") -> DocumentIndex:
        """Return the index of documents. Raises DataError for none, or for two with one id."""
        if not documents:
            raise DataError("there are no documents to search")
        twice = [id_ for id_, times in Counter(each.id for each in documents).items() if times > 1]
        if twice:
            raise DataError(f"{len(twice)} documents share their id with others, such as '{twice[0]}'")
        ordered = tuple(sorted(documents))
        texts = [each.text for each in ordered]
        return cls(ordered, _postings(texts) if embed == "tfidf" else minilm(texts))

    def nearest(self, question: str, k: int) -> list[Document]:
        """Return at most `k` documents, the nearest first; those without anything in common are left out."""
        if not question.strip():
            return []
        if isinstance(self.found_by, Postings):
            scores = _scores(self.found_by, question, len(self.documents))
        else:
            scores = self.found_by @ minilm([question])[0]
        best = np.argsort(-scores, kind="stable")[:k]
        return [self.documents[place] for place in best.tolist() if scores[place] > 0]

    @property
    def hash(self) -> str:
        """SHA-256 over the documents."""
        return hashlib.sha256(msgspec.json.encode(self.documents)).hexdigest()

    def files(self) -> dict[str, bytes]:
        """Return the files of the index, content by path in a bundle."""
        held = io.BytesIO()
        words: list[str] = []
        if isinstance(self.found_by, Postings):
            words, found = list(self.found_by.words), self.found_by
            np.savez(held, idf=found.idf, starts=found.starts, documents=found.documents, weights=found.weights)
        else:
            np.savez(held, embeddings=self.found_by)
        return {DOCUMENTS_FILE: msgspec.json.encode([self.documents, words]), INDEX_FILE: held.getvalue()}


def open_index(folder: Path) -> DocumentIndex:
    """Return the index in the folder of a bundle. Raises DataError when it is missing or damaged."""
    try:
        text = (folder / DOCUMENTS_FILE).read_bytes()
        documents, words = msgspec.json.decode(text, type=tuple[tuple[Document, ...], list[str]])
        with np.load(folder / INDEX_FILE, allow_pickle=False) as arrays:
            held = dict(arrays)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise DataError(f"{folder}: its retriever's index cannot be read: {error}") from None
    if "embeddings" in held:
        return DocumentIndex(documents, held["embeddings"])
    numbered = {word: number for number, word in enumerate(words)}
    return DocumentIndex(documents, Postings(numbered, held["idf"], held["starts"], held["documents"], held["weights"]))


def with_documents(
    spec: PromptSpec,
    index: DocumentIndex | None,
    variables: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the variables of a request with the nearest documents among them, and the ids of these.

    Searched for is the variable that the retriever names, else the last user message of the client, else all variables.
    Documents that the variable has no room for are left out. Raises MessageError for a request that brings documents.
    """
    if index is None or spec.retriever is None:
        return variables, ()
    if DOCUMENTS in variables:
        raise MessageError(
            f"the documents of the prompt '{spec.name}' come from its retriever '{spec.retriever.name}', not from "
            "requests",
            f"variables.{DOCUMENTS}",
        )
    longest = spec.variables[DOCUMENTS].max_chars
    texts, ids, length = list[str](), list[str](), 0
    for document in index.nearest(_question(spec.retriever, variables, messages), spec.retriever.k):
        text = f"[{document.id}] {document.text}"
        length += len(text) + len(SEPARATOR) * bool(texts)
        if longest is not None and length > longest:
            break
        texts.append(text)
        ids.append(document.id)
    return {**variables, DOCUMENTS: SEPARATOR.join(texts)}, tuple(ids)


def _question(retriever: RetrieverSpec, variables: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    if retriever.query is not None:
        return str(variables.get(retriever.query) or "")
    for message in reversed(messages):
        content = message.get("content")
        if message.get("role") == "user" and isinstance(content, str):
            return content
        if message.get("role") == "user" and isinstance(content, list):
            return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return " ".join(str(value) for value in variables.values() if value is not None)


def _postings(texts: Sequence[str]) -> Postings:
    counted = [Counter(words_of(text)) for text in texts]
    having = Counter(word for counts in counted for word in counts)
    words = {word: number for number, word in enumerate(sorted(having))}
    idf = np.log((1 + len(texts)) / (1 + np.array([having[word] for word in words], np.float32))) + 1
    entries: list[tuple[int, int, float]] = []
    for document, counts in enumerate(counted):
        numbers = [words[word] for word in counts]
        weights = (1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))) * idf[numbers]
        weights /= np.sqrt(np.square(weights).sum()) or 1.0
        entries += [(number, document, float(weight)) for number, weight in zip(numbers, weights, strict=True)]
    entries.sort()
    rows = [[entry[part] for entry in entries] for part in range(3)]
    starts = np.searchsorted(np.array(rows[0], np.int64), np.arange(len(words) + 1))
    return Postings(words, idf.astype(np.float32), starts, np.array(rows[1], np.int64), np.array(rows[2], np.float32))


def _scores(found: Postings, question: str, documents: int) -> Floats:
    scores = np.zeros(documents, np.float32)
    for word, times in Counter(words_of(question)).items():
        number = found.words.get(word)
        if number is not None:
            at = slice(found.starts[number], found.starts[number + 1])
            scores[found.documents[at]] += (1 + np.log(times)) * found.idf[number] * found.weights[at]
    return scores
